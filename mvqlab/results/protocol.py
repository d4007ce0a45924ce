"""A protocol: what is claimed, what is compared, how large an effect matters; and what runs say of it.

    protocol = read_protocol("ablations/protocol/hypotheses.yaml")  # written before the runs
    verdicts(protocol, lambda name: pandas.read_csv(f"results/reference/{name}.csv"))  # after them

Each hypothesis compares two arms, paired by seed. It *holds* where the difference has the sign that is
claimed, is clear, and is as large as what matters. It *does not hold* where it is shown not to be as large as
what matters: smaller, none, or with the other sign (a one-sided test against the effect). All else is *not
decided*, whatever the means look like. Both kinds of p values are corrected (Holm) for all hypotheses of the
claim that are about the same data.

Sources: Student's paired t; Holm 1979; tests against an effect, not against zero: Schuirmann 1987.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from mvqlab.config.yaml_files import YamlFileError, read_yaml
from mvqlab.results.power import SIGNIFICANCE, holm
from mvqlab.results.summary import SummaryError, differences, interval
from mvqlab.results.table_files import write_csv

if TYPE_CHECKING:
    import pandas as pd

ARM = "variant"  # the column that names an arm: a point's label without its seed
HOLDS, FAILS, OPEN = "holds", "does not hold", "not decided"


class Hypothesis(NamedTuple):
    """One comparison of two arms.

    part_of: the number of the claim. says: in words. tables: that hold its arms. metric: a column of
    these. first, second: the arms. direction: of first against second, as is claimed. effect: the
    smallest difference that matters, in the metric's unit, above 0. data: what the runs are of, in a
    word: claims are corrected for each data set apart, as runs on one say nothing about another. over:
    where arms have several points a seed, the setting that these differ in, such as the half that
    trains: their mean is what counts.
    """

    part_of: int
    says: str
    tables: tuple[str, ...]
    first: str
    second: str
    metric: str
    direction: Literal["higher", "lower"]
    effect: float
    data: str = ""
    over: str = ""


class ProtocolError(ValueError):
    """A protocol cannot be read; the message says where, and what to do."""


class Found(NamedTuple):
    """What n paired differences say: their mean, its 95 % interval, and two p values.

    p: that the mean is zero (two-sided). p_effect: that it is as large as what matters, or larger, with the
    sign that is claimed (one-sided). agree: how many of the n have the mean's sign.
    """

    n: int
    mean: float
    low: float
    high: float
    p: float
    p_effect: float
    agree: int


NOTHING = Found(0, math.nan, math.nan, math.nan, 1.0, 1.0, 0)


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
        data=str(given.get("data", "")),
        over=str(given.get("over", "")),
    )


def judge_differences(values: list[float], effect: float) -> Found:
    """What paired differences say of there being none, and of an effect as large as `effect` or larger.

    effect: in the sign that is claimed, below 0 where differences should be. One pair decides nothing: its p
    values are 1. Pairs that all differ alike have p values of 0 and 1.
    """
    from scipy.stats import t

    found = interval(values)
    n, mean = int(found["n"]), found["mean"]
    agree = sum(value * mean > 0.0 for value in values)
    if n < 2:
        return Found(n, mean, math.nan, math.nan, 1.0, 1.0, agree)
    error = (found["high"] - mean) / float(t.ppf(0.975, n - 1))
    short_by = effect - mean if effect > 0.0 else mean - effect
    if error == 0.0:
        return Found(n, mean, mean, mean, float(mean == 0.0), float(short_by <= 0.0), agree)
    p = 2.0 * float(t.sf(abs(mean) / error, n - 1))
    p_effect = float(t.sf(short_by / error, n - 1))
    return Found(n, mean, found["low"], found["high"], p, p_effect, agree)


def verdict_of(hypothesis: Hypothesis, found: Found, p: float, p_effect: float) -> str:
    """`HOLDS`, `FAILS` or `OPEN`, by p values that are corrected: see the module."""
    gain = found.mean if hypothesis.direction == "higher" else -found.mean
    if p_effect < SIGNIFICANCE:
        return FAILS
    return HOLDS if p < SIGNIFICANCE and gain >= hypothesis.effect else OPEN


def verdicts(protocol: list[Hypothesis], table_of: Callable[[str], pd.DataFrame]) -> pd.DataFrame:
    """A row a hypothesis: its words, what `Found` says, the two p values corrected, and the verdict.

    table_of: gives the table of a name; one that raises FileNotFoundError has not been run. A hypothesis
    whose tables, arms or column have no finished pair has no seeds and is not decided, and counts in the
    correction of its claim all the same: `p_holm`, `p_effect_holm`. Raises SummaryError for points that
    cannot be paired, and for a table without arms or seeds.
    """
    import pandas as pd

    found = [_found(one, table_of) for one in protocol]
    p_holm = _corrected(protocol, [one.p for one in found])
    p_effect_holm = _corrected(protocol, [one.p_effect for one in found])
    rows = [
        {
            **hypothesis._asdict(),
            **one._asdict(),
            "p_holm": p,
            "p_effect_holm": p_effect,
            "verdict": verdict_of(hypothesis, one, p, p_effect) if one.n else OPEN,
        }
        for hypothesis, one, p, p_effect in zip(protocol, found, p_holm, p_effect_holm, strict=True)
    ]
    return pd.DataFrame(rows)


def _corrected(protocol: list[Hypothesis], ps: list[float]) -> list[float]:
    """p values of all hypotheses, corrected for those of the same claim about the same data."""
    families: dict[tuple[int, str], list[int]] = {}
    for place, one in enumerate(protocol):
        families.setdefault((one.part_of, one.data), []).append(place)
    corrected = [math.nan] * len(ps)
    for places in families.values():
        for place, p in zip(places, holm([ps[place] for place in places]), strict=True):
            corrected[place] = p
    return corrected


def in_words(row: Mapping[str, Any]) -> str:
    """What a row of `verdicts` says, after its data where these are named."""
    data = row.get("data")
    # read back from a kept table, data without a name are NaN
    return f"{data}: {row['says']}" if isinstance(data, str) and data else str(row["says"])


def write_verdicts(found: pd.DataFrame, path: Path) -> Path:
    """Write the table of `verdicts` to a CSV file, tables as words. Returns `path`."""
    return write_csv(found.assign(tables=found["tables"].map(" ".join)), path)


def _found(hypothesis: Hypothesis, table_of: Callable[[str], pd.DataFrame]) -> Found:
    import pandas as pd

    tables = []
    for name in hypothesis.tables:
        with suppress(FileNotFoundError):
            tables.append(_with_arms(name, table_of(name)))
    arms, metric = (hypothesis.first, hypothesis.second), hypothesis.metric
    together = pd.concat(tables) if tables else pd.DataFrame(columns=[ARM, "seed"])
    if hypothesis.over in together:
        together = _means_over(hypothesis.over, together, metric)
    together = together[together[ARM].isin(arms)].reindex(columns=[ARM, "seed", "status", metric])
    values = [values for _, _, values in differences(together, ARM, *arms, [], [metric])]
    claimed = hypothesis.effect if hypothesis.direction == "higher" else -hypothesis.effect
    return judge_differences(values[0], claimed) if values else NOTHING


def _with_arms(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """`table` if it names arms and seeds; one without `status` holds what is done. Raises SummaryError."""
    missing = [column for column in (ARM, "seed") if column not in table]
    if missing:
        raise SummaryError(
            f"the table {name} has no column {', '.join(missing)}: a protocol pairs arms ({ARM}) by seed, as "
            "the tables of grids have them"
        )
    return table if "status" in table else table.assign(status="done")


def arms_without(setting: str, table: pd.DataFrame) -> list[str]:
    """The arm of each row of `table`, called as without `setting`, by which a grid's axis ends its name."""
    suffixes = [f", {setting}={value}" for value in table[setting]]
    return [arm.removesuffix(suffix) for arm, suffix in zip(table[ARM], suffixes, strict=True)]


def _means_over(setting: str, table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A row an arm and seed: the mean of `metric` over the values of `setting`, where all of them are done.

    Arms are called as without that setting. Raises SummaryError.
    """
    done = table.reindex(columns=[ARM, "seed", "status", setting, metric]).query("status == 'done'")
    done = done.dropna(subset=[setting])
    done = done.assign(**{ARM: arms_without(setting, done)})
    if done.duplicated([ARM, "seed", setting]).any():
        raise SummaryError(f"points cannot be paired: several have the same {ARM}, seed, {setting}")
    by_value = done.pivot(index=[ARM, "seed"], columns=setting, values=metric).dropna()
    if by_value.shape[1] < 2:  # one value of it alone has run
        by_value = by_value[:0]
    return by_value.mean(axis=1).rename(metric).reset_index().assign(status="done")
