"""Tables over seeds: means with 95 % intervals, paired comparisons, and the form a paper prints them in.

    table = results.load("results/mask_ratio")
    summary = results.summarise(table, by=["mask", "mask_ratio"], metrics=["psnr", "fid_judge"])
    results.compare(table, "mask", "adaptive", "random", at=["mask_ratio"], metrics=["psnr"])
    print(results.to_latex(results.as_paper(summary, by=["mask", "mask_ratio"])))

An interval is Student's: it assumes that results over seeds are roughly normal, and says nothing about
other data, sizes or training lengths. That of a share (`columns.is_share`) ends at 0 and at 1, and there is
none where all seeds lie at the same end: how near the others come is not known. That of seconds, bits and
whatever else cannot be negative ends at 0.
"""

from __future__ import annotations

import ast
import math
import numbers
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from mvqlab.results.columns import as_text, heading, is_never_negative, is_share

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE = 0.95
OTHER_METHODS = "other methods"  # the table of `published` that is not of MQ-VAE and Stackformer


class SummaryError(ValueError):
    """A table cannot be summarised as asked; the message names what is missing."""


def summarise(table: pd.DataFrame, by: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
    """Mean and 95 % interval of each metric over the finished points that agree in `by` (seeds, mostly).

    One row a group and metric: the columns `by`, then metric, n, mean, low, high; the interval is missing
    where n is 1. Rows without a value are left out. Raises SummaryError for a column that there is not.
    """
    import pandas as pd

    done = _done(table, [*by, *metrics])
    measured = {metric: done[metric].astype(float).tolist() for metric in metrics}
    rows = []
    for values_of_group, places in _places(done, by):
        for metric, column in measured.items():
            values = [column[place] for place in places if not math.isnan(column[place])]
            if values:
                found = _within(metric, values, interval(values), least=0.0)
                rows.append({**dict(zip(by, values_of_group, strict=True)), "metric": metric, **found})
    return pd.DataFrame(rows, columns=[*by, "metric", "n", "mean", "low", "high"])


def compare(
    table: pd.DataFrame, name: str, first: object, second: object, at: Sequence[str], metrics: Sequence[str]
) -> pd.DataFrame:
    """The difference that `name` = `first` makes to `name` = `second`, paired by seed, with 95 % intervals.

    One row a group of `at` and metric: the columns `at`, then metric, n (pairs), mean, low, high of first
    minus second, and `is_clear`, whether the interval leaves zero out. Raises SummaryError.
    """
    import pandas as pd

    rows = []
    for values_of_group, metric, values in differences(table, name, first, second, at, metrics):
        found = _within(metric, values, interval(values), least=-1.0)
        found["is_clear"] = bool(found["low"] > 0.0 or found["high"] < 0.0)
        rows.append({**dict(zip(at, values_of_group, strict=True)), "metric": metric, **found})
    return pd.DataFrame(rows, columns=[*at, "metric", "n", "mean", "low", "high", "is_clear"])


def differences(
    table: pd.DataFrame, name: str, first: object, second: object, at: Sequence[str], metrics: Sequence[str]
) -> Iterator[tuple[tuple[Any, ...], str, list[float]]]:
    """Of each group of `at` and metric that has any: the differences, first minus second, paired by seed.

    Raises SummaryError.
    """
    done = _done(table, [name, "seed", *at, *metrics])
    for values_of_group, group in groups_of(done, at, sort=True):
        sides = [_by_seed(group, name, value, at)[list(metrics)] for value in (first, second)]
        difference = sides[0] - sides[1]
        for metric in metrics:
            values = difference[metric].dropna().astype(float).tolist()
            if values:
                yield values_of_group, metric, values


def _by_seed(group: pd.DataFrame, name: str, value: object, at: Sequence[str]) -> pd.DataFrame:
    """The rows of `group` where `name` is `value`, under their seeds, each of which has one."""
    asked = key_of(value)
    side = group[[key_of(one) == asked for one in group[name].tolist()]]
    side = side.set_axis([str(key_of(seed)) for seed in side["seed"].tolist()])
    if side.index.has_duplicates:
        keys = ", ".join([*at, "seed"])
        raise SummaryError(f"points cannot be paired: several have the same {name}, {keys}")
    return side


def groups_of(
    table: pd.DataFrame, by: Sequence[str], *, sort: bool = False
) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """The values of `by` and the rows of `table` that have them, as they come or by `key_of`.

    pandas' own groups leave nulls out, take True for 1 and stop at lists and at numbers beside words.
    """
    for values, places in _places(table, by, sort=sort):
        yield values, table.iloc[places]


def _places(
    table: pd.DataFrame, by: Sequence[str], *, sort: bool = False
) -> Iterator[tuple[tuple[Any, ...], list[int]]]:
    """`groups_of`, with the places of the rows."""
    columns = [table[name].tolist() for name in by]
    keys = zip(*(map(key_of, column) for column in columns), strict=True) if by else [()] * len(table)
    places: dict[Any, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    for key in sorted(places) if sort else places:
        yield tuple(column[places[key][0]] for column in columns), places[key]


def key_of(value: Any) -> tuple[Any, ...]:
    """What is equal for two values of a parameter that are the same, and in order for any two.

    Null (None and NaN), then truth, numbers (1 and 1.0 are one), words, ranges and other lists, mappings. A
    list in words, as a table holds it, is the list.
    """
    if value is None or type(value).__name__ in {"NAType", "NaTType"} or value != value:
        return (0,)
    if isinstance(value, bool) or type(value).__name__ == "bool":  # NumPy's, too
        return (1, bool(value))
    if isinstance(value, numbers.Real):
        return (2, value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return (4, tuple(key_of(inner) for inner in value))
    if isinstance(value, Mapping):
        return (5, tuple(sorted((str(name), key_of(inner)) for name, inner in value.items())))
    text = str(value)
    return key_of(found) if text[:1] in {"[", "{"} and (found := _literal(text)) else (3, text)


def _literal(text: str) -> list[Any] | dict[Any, Any] | None:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def value_as_text(name: str, value: Any) -> str:
    """A parameter's value for people: null is one, where a measurement that is missing is an empty cell."""
    return "null" if key_of(value) == (0,) else as_text(name, value)


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> dict[str, float]:
    """n, mean, low and high of Student's interval of `values`; low and high are NaN for a single one."""
    from scipy.stats import t

    n = len(values)
    mean = min(max(math.fsum(values) / n, min(values)), max(values))  # of equal ones rounding makes no other
    half = math.nan
    if n > 1:
        variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
        half = float(t.ppf(0.5 + confidence / 2, n - 1)) * math.sqrt(variance / n)
    return {"n": n, "mean": mean, "low": mean - half, "high": mean + half}


def _within(metric: str, values: Sequence[float], found: dict[str, float], least: float) -> dict[str, float]:
    """`found` with an interval that does not go past the ends of the measure, as all its `values` keep them.

    least: of a share, 0, or -1 of a difference of two. What cannot be negative ends at 0, where it is no
    difference.
    """
    most = 1.0
    if not is_share(metric):
        if least < 0.0 or not is_never_negative(metric):
            return found
        most = math.inf
    if not all(least <= value <= most for value in values):
        return found
    if is_share(metric) and len(set(values)) == 1 and least == 0.0 and values[0] in (0.0, 1.0):
        return found | {"low": math.nan, "high": math.nan}
    # a comparison with NaN is false, so that no interval stays none
    low, high = found["low"], found["high"]
    return found | {"low": least if low < least else low, "high": most if high > most else high}


def as_paper(summary: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """`summary` as a paper prints it: a row a group, a column a metric, ``21.3 ± 0.4`` in the cells.

    Write it with `results.to_latex` or `results.to_markdown`, which escape what labels may hold.
    """
    import pandas as pd

    rows = []
    for values, group in groups_of(summary, by):
        row = {heading(name): value_as_text(name, value) for name, value in zip(by, values, strict=True)}
        for one in group.itertuples():
            row[heading(one.metric)] = _with_spread(one.metric, one.mean, one.low, one.high)
        row["n"] = str(int(group["n"].max()))
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def _with_spread(metric: str, mean: float, low: float, high: float) -> str:
    """``21.3 ± 1.9``: two digits of the half interval, and as many decimals in the mean.

    ``0.95 (0.81 to 1.00)`` where a share's interval ends at 0 or 1, and so is not the same on both sides.
    """
    half = max(high - mean, mean - low)
    if math.isnan(half) or half == 0.0:
        return as_text(metric, float(mean))
    decimals = max(0, 1 - math.floor(math.log10(half)))
    if not math.isclose(high - mean, mean - low, rel_tol=1e-6):
        return f"{mean:.{decimals}f} ({low:.{decimals}f} to {high:.{decimals}f})"
    return f"{mean:.{decimals}f} ± {half:.{decimals}f}"


def published(what: str = "") -> pd.DataFrame:
    """Published numbers, each with its source and a remark: the paper's, or one table's (``"table 6"``).

    They were measured on other data with other networks: to be shown beside ours, never in one column.
    ``"other methods"`` are DQ-VAE, One-D-Piece, FlexTok and KARL, whose column `model` begins with the method
    and which have no mask; only who asks for them by that name gets them. `tokens` are codes an image,
    missing where not known. Raises SummaryError for a table that is not there.
    """
    import pandas as pd

    with files("mvqlab.results").joinpath("published.csv").open(encoding="utf-8") as lines:
        table = pd.read_csv(lines, comment="#")
    if not what:
        return table[table["table"] != OTHER_METHODS]
    found = table[table["table"] == what]
    if found.empty:
        known = ", ".join(dict.fromkeys(table["table"]))
        raise SummaryError(f"no published table '{what}'; there are {known}")
    return found.reset_index(drop=True)


def _done(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    missing = [name for name in columns if name not in table]
    if missing:
        raise SummaryError(f"the table has no column {', '.join(missing)}; it has {', '.join(table)}")
    return table[table["status"] == "done"] if "status" in table else table
