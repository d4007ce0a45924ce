"""How sure a figure is: bootstrap intervals over images.

A set of images is drawn anew from itself, with replacement, and the figure computed again. Two kinds:

- Figures that are means over images (precision, recall, density, coverage): the ordinary percentile
  interval of the mean.
- FID, KID and the Inception score: an image that is drawn twice makes a set look poorer than it is, so
  redrawn figures lie to one side of the figure. Their percentile interval is moved so that their mean
  lies on the figure.

An interval speaks of what fresh images of the same numbers would give. The bias of FID at few images is not
in it: it is the same for all models that are judged on equal numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

LEVEL = 0.95


class Interval(NamedTuple):
    """A figure with the ends of its 95 % interval; both nan where nothing was redrawn."""

    value: float
    low: float
    high: float


def interval_of_mean(rows: Tensor, resamples: int, seed: int = 0) -> Interval:
    """The mean of `rows` (n,), with a percentile interval over `resamples` redrawn sets of rows."""
    rows = rows.double()
    generator = torch.Generator().manual_seed(seed)
    low, high = _ends([float(rows[_redrawn(len(rows), generator)].mean()) for _ in range(resamples)])
    return Interval(float(rows.mean()), low, high)


def interval_of(
    figure: Callable[..., float], sets: tuple[Tensor, ...], resamples: int, seed: int = 0
) -> Interval:
    """`figure` of `sets` of rows, with an interval over sets that are each redrawn `resamples` times.

    The interval is that of the redrawn figures, moved so that their mean is `figure(*sets)`.
    """
    value = figure(*sets)
    generator = torch.Generator().manual_seed(seed)
    drawn = [figure(*(rows[_redrawn(len(rows), generator)] for rows in sets)) for _ in range(resamples)]
    low, high = _ends(drawn)
    moved = value - sum(drawn) / max(1, resamples)
    return Interval(value, low + moved, high + moved)


def _redrawn(n: int, generator: torch.Generator) -> Tensor:
    return torch.randint(n, (n,), generator=generator)


def _ends(drawn: list[float]) -> tuple[float, float]:
    if not drawn:
        return torch.nan, torch.nan
    tail = (1.0 - LEVEL) / 2.0
    ends = torch.tensor([tail, 1.0 - tail], dtype=torch.float64)
    low, high = torch.tensor(drawn, dtype=torch.float64).quantile(ends).tolist()
    return low, high
