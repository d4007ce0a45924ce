"""Distances within and between real and generated features, computed once and looked up for every subset."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from mvqlab.evaluation.samples.density_coverage import share_of_balls
from mvqlab.evaluation.samples.precision_recall import distances, in_balls
from mvqlab.support.finite import check_finite


class SetDistances(NamedTuple):
    """Euclidean distances: real (n, n), generated (m, m), and across (m, n), from generated to real."""

    real: Tensor
    generated: Tensor
    across: Tensor

    def of_rows(self, real_rows: Tensor | slice, generated_rows: Tensor | slice) -> SetDistances:
        """The distances of some rows only."""
        return SetDistances(
            self.real[real_rows][:, real_rows],
            self.generated[generated_rows][:, generated_rows],
            self.across[generated_rows][:, real_rows],
        )


def set_distances(real: Tensor, generated: Tensor) -> SetDistances:
    """All distances of features (n, F) and (m, F). Raises NonFiniteError."""
    check_finite("features of real images", real)
    check_finite("features of generated images", generated)
    return SetDistances(distances(real, real), distances(generated, generated), distances(generated, real))


def shares(among: SetDistances, k: int, ball_neighbours: int) -> dict[str, float]:
    """precision and recall with `k` neighbours, density and coverage with `ball_neighbours`.

    See `precision_recall` and `share_of_balls`. All nan where a set has no more rows than that.
    """
    if min(among.across.shape) <= max(k, ball_neighbours):
        return dict.fromkeys(("precision", "recall", "density", "coverage"), float("nan"))
    balls = share_of_balls(in_balls(among.across, among.real, ball_neighbours), ball_neighbours)
    rows = {
        "precision": in_balls(among.across, among.real, k).any(dim=1),
        "recall": in_balls(among.across.T, among.generated, k).any(dim=1),
        "density": balls.density,
        "coverage": balls.coverage,
    }
    return {name: float(values.double().mean()) for name, values in rows.items()}
