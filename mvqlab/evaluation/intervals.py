"""How sure a figure is: 95 % intervals, from sets that are drawn anew from the images at hand.

Two ways of drawing. Which one is right depends on whether the figure looks at the images one by one.

- `subset_intervals`, for figures of whole sets. An image that is drawn twice is its own nearest neighbour,
  so balls shrink, and sets look poorer than they are: drawn with replacement, FID comes out up to twice as
  high, precision and coverage 0.03 to 0.2 too low. Here subsets of 80 % are drawn without replacement.
  They spread half as much as fresh sets would (sqrt(0.2 / 0.8), Politis and Romano 1994), so their
  deviations from their own mean are doubled and laid around the figure.
- `bootstrap_interval`, the ordinary percentile interval, for figures whose rows do not look at each other.

A share that is 0 or 1 is so in every set that is drawn anew, and drawing would say that there is no doubt.
`exact_share` does not draw: Clopper and Pearson 1934, from the count alone. A share's interval is never
narrower than that one.

What an interval holds is the figure's mean over fresh sets of as many images. On normal features with 512
real and 256 generated rows, 89 to 100 % of them do: 89 to 93 % for the Inception score, more for shares and
for sets that do not differ. The bias of FID at few images is *not* in it: with 64 features the mean FID
there is 8.4 where the true one is 2.9. Only figures from equal numbers of images compare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

LEVEL = 0.95
SUBSET = 0.8  # share of each set that is drawn
FEWEST = 10  # rows of a set; fewer get no interval


class Interval(NamedTuple):
    """A figure with the ends of its 95 % interval; both nan where nothing was redrawn."""

    value: float
    low: float = torch.nan
    high: float = torch.nan

    def clipped(self, least: float, most: float = torch.inf) -> Interval:
        """The same with ends that are no lower than `least` and no higher than `most`."""
        low, high = (min(max(end, least), most) if end == end else end for end in self[1:])
        return Interval(self.value, low, high)

    def of_share(self, n: int) -> Interval:
        """The same for a share of `n` rows, no narrower than the exact interval; none stays none."""
        exact = exact_share(round(self.value * n), n) if n and self.low == self.low else self
        return Interval(self.value, min(self.low, exact.low), max(self.high, exact.high)).clipped(0.0, 1.0)


def exact_share(count: int, n: int) -> Interval:
    """The share of `count` in `n`, at least 1, with its exact (Clopper-Pearson) interval."""
    from scipy.stats import binomtest

    found = binomtest(count, n).proportion_ci(LEVEL, method="exact")
    return Interval(count / n, float(found.low), float(found.high))


def subset_intervals(
    figures: Callable[..., Mapping[str, float]], sizes: tuple[int, ...], resamples: int, seed: int = 0
) -> dict[str, Interval]:
    """`figures` of whole sets with `sizes` rows, each with an interval over `resamples` subsets.

    `figures` takes the numbers of the rows to look at, a tensor a set, and gives figures by name. No
    interval where `resamples` is 0 or a set has fewer than ten rows.
    """
    values = figures(*(torch.arange(n) for n in sizes))
    if not resamples or min(sizes) < FEWEST:
        return {name: Interval(value) for name, value in values.items()}
    generator = torch.Generator().manual_seed(seed)
    drawn = [figures(*(_subset(n, generator) for n in sizes)) for _ in range(resamples)]
    return {
        name: _around(value, torch.tensor([one[name] for one in drawn], dtype=torch.float64))
        for name, value in values.items()
    }


def bootstrap_interval(
    figure: Callable[..., float], sets: tuple[Tensor, ...], resamples: int, seed: int = 0
) -> Interval:
    """`figure` of `sets` of rows, with a percentile interval over sets drawn with replacement."""
    value = figure(*sets)
    if not resamples:
        return Interval(value)
    generator = torch.Generator().manual_seed(seed)
    drawn = [
        figure(*(rows[torch.randint(len(rows), (len(rows),), generator=generator)] for rows in sets))
        for _ in range(resamples)
    ]
    return Interval(value, *_ends(torch.tensor(drawn, dtype=torch.float64)))


def _subset(n: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(n, generator=generator)[: int(SUBSET * n)]


def _around(value: float, drawn: Tensor) -> Interval:
    scale = (SUBSET / (1.0 - SUBSET)) ** 0.5
    low, high = _ends((drawn - drawn.mean()) * scale)
    return Interval(value, value + low, value + high)


def _ends(drawn: Tensor) -> tuple[float, float]:
    tail = (1.0 - LEVEL) / 2.0
    low, high = drawn.quantile(torch.tensor([tail, 1.0 - tail], dtype=torch.float64)).tolist()
    return low, high
