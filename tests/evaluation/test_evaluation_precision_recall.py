"""Precision and recall of generated features, against answers worked out by hand and loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mvqlab.evaluation.samples.precision_recall import lies_within, neighbour_radii, precision_recall


def normal(n: int, seed: int, shift: float = 0.0, spread: float = 1.0, n_features: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (spread * torch.randn(n, n_features, generator=generator) + shift).double()


def test_on_a_line_by_hand() -> None:
    real = torch.tensor([[0.0], [1.0], [3.0], [10.0]])
    assert neighbour_radii(real, 1).tolist() == [1.0, 1.0, 2.0, 7.0]
    assert neighbour_radii(real, 2).tolist() == [3.0, 2.0, 3.0, 9.0]
    # balls for k = 1: [-1, 1], [0, 2], [1, 5], [3, 17]
    points = torch.tensor([[-1.0], [-1.1], [5.5], [17.0], [17.5]])
    assert lies_within(points, real, 1).tolist() == [True, False, True, True, False]
    assert precision_recall(real, points, 1).precision == pytest.approx(3 / 5)
    # the generated balls: [-1.1, -0.9], [-1.2, -1.0], [-1.0, 12.0], [16.5, 17.5], [17, 18]: all real are in
    assert precision_recall(real, points, 1).recall == 1.0


def test_agrees_with_loops() -> None:
    real, generated, k = normal(31, 0).numpy(), normal(23, 1, shift=0.6).numpy(), 3

    def share(points: np.ndarray, of: np.ndarray) -> float:
        radii = [sorted(np.linalg.norm(row - other) for other in of)[k] for row in of]
        inside = [
            any(np.linalg.norm(point - row) <= radius for row, radius in zip(of, radii, strict=True))
            for point in points
        ]
        return float(np.mean(inside))

    found = precision_recall(torch.from_numpy(real), torch.from_numpy(generated), k)
    assert found.precision == pytest.approx(share(generated, real))
    assert found.recall == pytest.approx(share(real, generated))
    assert 0.0 < found.precision < 1.0 and 0.0 < found.recall < 1.0


def test_the_same_set_is_all_within_and_a_far_one_is_not() -> None:
    real = normal(40, 0)
    assert precision_recall(real, real) == (1.0, 1.0)
    assert precision_recall(real, real + 1000.0) == (0.0, 0.0)


def test_a_narrow_set_is_precise_and_covers_little_a_wide_one_the_reverse() -> None:
    real = normal(200, 0)
    narrow = precision_recall(real, normal(200, 1, spread=0.3))
    wide = precision_recall(real, normal(200, 1, spread=3.0))
    assert narrow.precision > 0.95 and narrow.recall < 0.4
    assert wide.precision < 0.4 and wide.recall > 0.9


def test_far_from_the_origin_distances_keep_their_digits() -> None:
    real, generated = normal(40, 0).float(), normal(40, 1).float()
    near, far = precision_recall(real, generated), precision_recall(real + 4096.0, generated + 4096.0)
    assert near == pytest.approx(far, abs=0.03)


@pytest.mark.parametrize("k", [0, 3, 7])
def test_a_neighbour_that_does_not_exist_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"neighbour number {k} of 3"):
        precision_recall(normal(3, 0), normal(20, 1), k)
