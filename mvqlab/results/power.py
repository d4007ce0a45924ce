"""How many seeds a paired comparison needs, and how many hypotheses a table can bear.

A comparison pairs two arms by seed: of n differences with spread s (their standard deviation) Student's t has
n - 1 degrees of freedom, and a true effect e moves it by e * sqrt(n) / s.

    power_of_difference(effect=0.5, spread=0.4, n=8)      # that a difference of 0.5 is seen with 8 seeds
    seeds_for(0.5, 0.4, tests=7)                          # how many see it with 80 %, as one of 7 hypotheses
    holds_from(0.5, 0.4, n=8)                             # which difference is then called as large as 0.5

To see a difference is less than to say that it holds, which asks for a mean as large as what matters, too: a
true difference just as large has that in half of all experiments, however many seeds there are.

Sources: Cohen 1988, chapter 2 (paired t); Schuirmann 1987 (tests against an effect); Holm 1979.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mvqlab.results.summary import SummaryError, differences

if TYPE_CHECKING:
    import pandas as pd

SIGNIFICANCE = 0.05
POWER = 0.8
MOST_SEEDS = 1000
CERTAIN = 30.0  # standard errors


def power_of_difference(effect: float, spread: float, n: int, significance: float = SIGNIFICANCE) -> float:
    """The chance that n pairs show a true difference of `effect`, both in the metric's unit; two-sided.

    spread: the standard deviation of the differences. Raises ValueError for fewer than two pairs.
    """
    from scipy.stats import nct, t

    _check(spread, n)
    if spread == 0.0:
        return 1.0 if effect else significance
    freedom, shift = n - 1, abs(effect) * math.sqrt(n) / spread
    critical = float(t.ppf(1.0 - significance / 2, freedom))
    if shift > CERTAIN + critical:  # so far out that scipy's series is no number
        return 1.0
    return float(nct.sf(critical, freedom, shift) + nct.sf(critical, freedom, -shift))


def power_to_hold(
    true: float, effect: float, spread: float, n: int, significance: float = SIGNIFICANCE
) -> float:
    """The chance that n pairs show a `true` difference and have a mean of `effect` or more, both above 0.

    So what is claimed *holds*, as `mvqlab.results.protocol` has it. The mean over what the spread of n
    differences may turn out to be. Raises ValueError for fewer than two pairs.
    """
    import numpy as np
    from scipy.stats import chi2, norm, t

    _check(spread, n)
    if spread == 0.0:
        return float(true >= effect)
    shares = (np.arange(4000) + 0.5) / 4000
    errors = spread / math.sqrt(n) * np.sqrt(chi2.ppf(shares, n - 1) / (n - 1))  # standard errors, estimated
    least = np.maximum(effect, t.ppf(1.0 - significance / 2, n - 1) * errors)  # mean that is asked for
    return float(norm.sf((least - true) / (spread / math.sqrt(n))).mean())


def holds_from(
    effect: float, spread: float, n: int, significance: float = SIGNIFICANCE, power: float = POWER
) -> float:
    """The least true difference that n pairs call `effect` or more with a chance of `power`."""
    from scipy.optimize import brentq

    def surplus(true: float) -> float:
        return power_to_hold(true, effect, spread, n, significance) - power

    if surplus(effect) >= 0.0:
        return effect
    most = effect + spread
    while surplus(most) < 0.0:
        most = effect + 2.0 * (most - effect)
    return float(brentq(surplus, effect, most, xtol=1e-6))


def power_of_absence(effect: float, spread: float, n: int, significance: float = SIGNIFICANCE) -> float:
    """The chance that n pairs of arms that do not differ are shown not to differ by `effect`; one-sided.

    By a t test against `effect` in place of zero, as `mvqlab.results.protocol` refutes what is claimed.
    Raises ValueError for fewer than two pairs.
    """
    from scipy.stats import nct, t

    _check(spread, n)
    if spread == 0.0:
        return 1.0
    freedom, shift = n - 1, abs(effect) * math.sqrt(n) / spread
    critical = float(t.ppf(1.0 - significance, freedom))
    return 1.0 if shift > CERTAIN + critical else float(nct.sf(critical, freedom, shift))


def seeds_for(
    effect: float, spread: float, tests: int = 1, power: float = POWER, *, absence: bool = False
) -> int | None:
    """The fewest pairs that show `effect` (or, with `absence`, that there is none) with a chance of `power`.

    tests: hypotheses that are tested together; the significance is shared out among them, as the smallest
    of Holm's p values has it, which asks the most. None where more than `MOST_SEEDS` are needed.
    """
    significance = SIGNIFICANCE / tests
    chance: Callable[..., float] = power_of_absence if absence else power_of_difference
    numbers = range(2, MOST_SEEDS + 1)
    return next((n for n in numbers if chance(effect, spread, n, significance) >= power), None)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for being several (Holm's step-down), in the order in which they come.

    Where all those up to a level are taken for effects, one of them is none with at most that chance.
    """
    by_size = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(by_size):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = least
    return corrected


def power_table(
    table: pd.DataFrame,
    name: str,
    first: object,
    second: object,
    at: Sequence[str],
    effects: dict[str, float],
    tests: int = 1,
) -> pd.DataFrame:
    """What a kept table says of the seeds that the next one needs.

    effects: the smallest effect that matters, by metric, in its unit. A row a group of `at` and metric: the
    columns `at`, then metric, n (pairs that there are), spread (of their differences), effect, power (of
    those n), seeds (that show the effect with 80 %), holds_from (of so many: the true difference that is
    called as large with 80 %) and seeds_for_none (that show its absence). Raises SummaryError for a column
    that there is not, and where no seed has both sides.
    """
    import pandas as pd

    rows = []
    for values_of_group, metric, values in differences(table, name, first, second, at, list(effects)):
        if len(values) < 2:
            continue
        mean, effect = math.fsum(values) / len(values), effects[metric]
        spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
        rows.append(
            {
                **dict(zip(at, values_of_group, strict=True)),
                "metric": metric,
                "n": len(values),
                "spread": spread,
                "effect": effect,
                "power": power_of_difference(effect, spread, len(values), SIGNIFICANCE / tests),
                "seeds": (seeds := seeds_for(effect, spread, tests)),
                "holds_from": seeds and holds_from(effect, spread, seeds, SIGNIFICANCE / tests),
                "seeds_for_none": seeds_for(effect, spread, tests, absence=True),
            }
        )
    if not rows:
        raise SummaryError(f"no two seeds have both {name} {first} and {name} {second}: there is no spread")
    columns = [*at, "metric", "n", "spread", "effect", "power", "seeds", "holds_from", "seeds_for_none"]
    return pd.DataFrame(rows, columns=columns).astype({"seeds": "Int64", "seeds_for_none": "Int64"})


def _check(spread: float, n: int) -> None:
    if n < 2:
        raise ValueError(f"a spread needs two pairs at least, not {n}")
    if not spread >= 0.0:
        raise ValueError(f"a spread is a number from 0 on, not {spread}")
