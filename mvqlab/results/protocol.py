"""A protocol: what is claimed, what is compared, how large an effect matters; and what runs say of it.

    protocol = read_protocol("ablations/protocol/hypotheses.yaml")  # written before the runs
    verdicts(protocol, lambda name: pandas.read_csv(f"results/reference/{name}.csv"))  # after them

Each hypothesis compares two arms, paired by seed. It *holds* where the difference has the sign that is
claimed, is clear after Holm's correction for all hypotheses of its claim, and is as large as what matters.
It *does not hold* where the difference is clear with the other sign, or shown to be smaller than what matters
(two one-sided tests). All else is *not decided*, whatever the means look like.

Sources: Student's paired t; Holm 1979; Schuirmann 1987.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from mvqlab.config.yaml_files import YamlFileError, read_yaml
from mvqlab.results.power import SIGNIFICANCE, holm
from mvqlab.results.summary import SummaryError, differences, interval

if TYPE_CHECKING:
    import pandas as pd

ARM = "variant"  # the column that names an arm: a point's label without its seed
HOLDS, FAILS, OPEN = "holds", "does not hold", "not decided"


class Hypothesis(NamedTuple):
    """One comparison of two arms.

    part_of: the number of the claim. says: in words. tables: that hold its arms. metric: a column of these.
    first, second: the arms. direction: of first against second, as is claimed. effect: the smallest
    difference that matters, in the metric's unit, above 0. over: where arms have several points a seed, the
    setting that these differ in, such as the half that trains: their mean is what counts.
    """

    part_of: int
    says: str
    tables: tuple[str, ...]
    first: str
    second: str
    metric: str
    direction: Literal["higher", "lower"]
    effect: float
    over: str = ""


class ProtocolError(ValueError):
    """A protocol cannot be read; the message says where, and what to do."""


class Found(NamedTuple):
    """What n paired differences say: their mean, its 95 % interval, and two p values.

    p: that the mean is zero (two-sided). p_none: that it is as far from zero as what matters, or further.
    """

    n: int
    mean: float
    low: float
    high: float
    p: float
    p_none: float


NOTHING = Found(0, math.nan, math.nan, math.nan, 1.0, 1.0)


def read_protocol(path: str | Path) -> list[Hypothesis]:
    """The hypotheses of the YAML file at `path`, a list of mappings. Raises ProtocolError."""
    content = _content(path)
    if not isinstance(content.get("hypotheses"), list):
        raise ProtocolError(f"{path} has no list `hypotheses`")
    return [_hypothesis(f"{path}, hypothesis {n}", one) for n, one in enumerate(content["hypotheses"], 1)]


def read_claims(path: str | Path) -> dict[int, str]:
    """What each claim of the protocol at `path` says, by its number. Raises ProtocolError."""
    claims = _content(path).get("claims", {})
    if not isinstance(claims, dict) or not all(isinstance(number, int) for number in claims):
        raise ProtocolError(f"{path}: `claims` must give words by the number of a claim")
    return {number: str(words) for number, words in claims.items()}


def _content(path: str | Path) -> Any:
    try:
        return read_yaml(Path(path), "protocol")
    except YamlFileError as error:
        raise ProtocolError(str(error)) from None


def _hypothesis(where: str, given: object) -> Hypothesis:
    if not isinstance(given, dict):
        raise ProtocolError(f"{where}: is no mapping of names to values")
    fields, names = Hypothesis._fields, set(given)
    wrong = [f"lacks {name}" for name in fields if name not in names | set(Hypothesis._field_defaults)]
    wrong += [f"has an unknown {name}" for name in sorted(map(str, names - set(fields)))]
    if wrong:
        raise ProtocolError(f"{where}: {', '.join(wrong)}")
    if given["direction"] not in ("higher", "lower"):
        raise ProtocolError(f"{where}: direction must be higher or lower, not {given['direction']!r}")
    effect = given["effect"]
    if isinstance(effect, bool) or not isinstance(effect, int | float) or not 0.0 < effect < math.inf:
        raise ProtocolError(f"{where}: effect must be a number above 0, not {effect!r}")
    if not isinstance(given["part_of"], int):
        raise ProtocolError(f"{where}: part_of must be the number of a claim, not {given['part_of']!r}")
    tables = given["tables"] if isinstance(given["tables"], list) else [given["tables"]]
    return Hypothesis(
        part_of=given["part_of"],
        says=str(given["says"]),
        tables=tuple(map(str, tables)),
        first=str(given["first"]),
        second=str(given["second"]),
        metric=str(given["metric"]),
        direction=given["direction"],
        effect=float(effect),
        over=str(given.get("over", "")),
    )


def judge_differences(values: list[float], effect: float) -> Found:
    """What paired differences say of an effect as large as `effect` or larger, and of there being none.

    One pair decides nothing: its p values are 1. Pairs that all differ alike have p values of 0 and 1.
    """
    from scipy.stats import t

    found = interval(values)
    n, mean = int(found["n"]), found["mean"]
    if n < 2:
        return Found(n, mean, math.nan, math.nan, 1.0, 1.0)
    error = (found["high"] - mean) / float(t.ppf(0.975, n - 1))
    if error == 0.0:
        return Found(n, mean, mean, mean, float(mean == 0.0), float(abs(mean) >= effect))
    p = 2.0 * float(t.sf(abs(mean) / error, n - 1))
    p_none = float(t.sf((effect - abs(mean)) / error, n - 1))  # the larger of the two one-sided ones
    return Found(n, mean, found["low"], found["high"], p, p_none)


def verdict_of(hypothesis: Hypothesis, found: Found, p_corrected: float) -> str:
    """`HOLDS`, `FAILS` or `OPEN`: see the module."""
    gain = found.mean if hypothesis.direction == "higher" else -found.mean
    is_clear = p_corrected < SIGNIFICANCE
    if is_clear and gain < 0.0:
        return FAILS
    if found.p_none < SIGNIFICANCE:
        return FAILS
    return HOLDS if is_clear and gain >= hypothesis.effect else OPEN


def verdicts(protocol: list[Hypothesis], table_of: Callable[[str], pd.DataFrame]) -> pd.DataFrame:
    """A row a hypothesis: its words, n (seeds), effect, mean, low, high, p, p_holm, p_none, verdict.

    table_of: gives the table of a name; one that raises FileNotFoundError has not been run. A hypothesis
    whose tables, arms or column have no finished pair has no seeds and is not decided, and counts in Holm's
    correction of its claim all the same. Raises SummaryError for points that cannot be paired.
    """
    import pandas as pd

    found = [_found(one, table_of) for one in protocol]
    corrected = [math.nan] * len(protocol)
    for claim in {one.part_of for one in protocol}:
        places = [place for place, one in enumerate(protocol) if one.part_of == claim]
        for place, p in zip(places, holm([found[place].p for place in places]), strict=True):
            corrected[place] = p
    rows = [
        {
            **hypothesis._asdict(),
            **one._asdict(),
            "p_holm": p,
            "verdict": verdict_of(hypothesis, one, p) if one.n else OPEN,
        }
        for hypothesis, one, p in zip(protocol, found, corrected, strict=True)
    ]
    return pd.DataFrame(rows)


def _found(hypothesis: Hypothesis, table_of: Callable[[str], pd.DataFrame]) -> Found:
    import pandas as pd

    tables = []
    for name in hypothesis.tables:
        with suppress(FileNotFoundError):
            tables.append(table_of(name))
    arms, metric = (hypothesis.first, hypothesis.second), hypothesis.metric
    together = pd.concat(tables) if tables else pd.DataFrame(columns=[ARM, "seed"])
    if hypothesis.over in together:
        together = _means_over(hypothesis.over, together, metric)
    together = together[together[ARM].isin(arms)].reindex(columns=[ARM, "seed", "status", metric])
    values = [values for _, _, values in differences(together, ARM, *arms, [], [metric])]
    return judge_differences(values[0], hypothesis.effect) if values else NOTHING


def _means_over(setting: str, table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A row an arm and seed: the mean of `metric` over the values of `setting`, where all of them are done.

    Arms are called as without that setting. Raises SummaryError.
    """
    done = table.reindex(columns=[ARM, "seed", "status", setting, metric]).query("status == 'done'")
    done = done.dropna(subset=[setting])
    suffixes = [f", {setting}={value}" for value in done[setting]]
    arms = [arm.removesuffix(suffix) for arm, suffix in zip(done[ARM], suffixes, strict=True)]
    done = done.assign(**{ARM: arms})
    if done.duplicated([ARM, "seed", setting]).any():
        raise SummaryError(f"points cannot be paired: several have the same {ARM}, seed, {setting}")
    by_value = done.pivot(index=[ARM, "seed"], columns=setting, values=metric).dropna()
    if by_value.shape[1] < 2:  # one value of it alone has run
        by_value = by_value[:0]
    return by_value.mean(axis=1).rename(metric).reset_index().assign(status="done")
