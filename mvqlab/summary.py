"""Tables over seeds: means with 95 % intervals, paired comparisons, and the form a paper prints them in.

    table = results.load("results/mask_ratio")
    summary = results.summarise(table, by=["mask", "mask_ratio"], metrics=["psnr", "fid_lab"])
    results.compare(table, "mask", "adaptive", "random", at=["mask_ratio"], metrics=["psnr"])
    print(results.as_paper(summary, by=["mask", "mask_ratio"]).to_latex(index=False))

An interval is Student's: it assumes that results over seeds are roughly normal, and says nothing about
other data, sizes or training lengths.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from mvqlab.columns import as_text, heading

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE = 0.95


class SummaryError(ValueError):
    """A table cannot be summarised as asked; the message names what is missing."""


def summarise(table: pd.DataFrame, by: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
    """Mean and 95 % interval of each metric over the finished points that agree in `by` (seeds, mostly).

    One row a group and metric: the columns `by`, then metric, n, mean, low, high; the interval is missing
    where n is 1. Rows without a value are left out. Raises SummaryError for a column that there is not.
    """
    import pandas as pd

    done = _done(table, [*by, *metrics])
    rows = []
    for key, group in done.groupby(list(by), sort=False, dropna=False):
        for metric in metrics:
            values = group[metric].dropna().astype(float).tolist()
            if values:
                rows.append({**dict(zip(by, key, strict=True)), "metric": metric, **interval(values)})
    return pd.DataFrame(rows, columns=[*by, "metric", "n", "mean", "low", "high"])


def compare(
    table: pd.DataFrame, name: str, first: object, second: object, at: Sequence[str], metrics: Sequence[str]
) -> pd.DataFrame:
    """The difference that `name` = `first` makes to `name` = `second`, paired by seed, with 95 % intervals.

    One row a group of `at` and metric: the columns `at`, then metric, n (pairs), mean, low, high of first
    minus second, and `is_clear`, whether the interval leaves zero out. Raises SummaryError.
    """
    import pandas as pd

    done = _done(table, [name, "seed", *at, *metrics])
    keys = [*at, "seed"]
    twice = done[done[name].isin([first, second])].duplicated([name, *keys])
    if twice.any():
        raise SummaryError(f"points cannot be paired: several have the same {name}, {', '.join(keys)}")
    sides = [done[done[name] == value].set_index(keys)[list(metrics)] for value in (first, second)]
    difference = (sides[0] - sides[1]).reset_index()
    rows = []
    for key, group in difference.groupby(list(at), sort=True) if at else [((), difference)]:
        for metric in metrics:
            values = group[metric].dropna().astype(float).tolist()
            if values:
                found = interval(values)
                found["is_clear"] = bool(found["low"] > 0.0 or found["high"] < 0.0)
                rows.append({**dict(zip(at, key, strict=True)), "metric": metric, **found})
    return pd.DataFrame(rows, columns=[*at, "metric", "n", "mean", "low", "high", "is_clear"])


def interval(values: Sequence[float], confidence: float = CONFIDENCE) -> dict[str, float]:
    """n, mean, low and high of Student's interval of `values`; low and high are NaN for a single one."""
    from scipy.stats import t

    n = len(values)
    mean = math.fsum(values) / n
    half = math.nan
    if n > 1:
        variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
        half = float(t.ppf(0.5 + confidence / 2, n - 1)) * math.sqrt(variance / n)
    return {"n": n, "mean": mean, "low": mean - half, "high": mean + half}


def as_paper(summary: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """`summary` as a paper prints it: a row a group, a column a metric, ``21.3 ± 0.4`` in the cells.

    Write it with pandas' `to_latex(index=False)` or `to_markdown(index=False)`.
    """
    import pandas as pd

    rows = []
    for key, group in summary.groupby(list(by), sort=False, dropna=False):
        row = {heading(name): as_text(name, value) for name, value in zip(by, key, strict=True)}
        for one in group.itertuples():
            row[heading(one.metric)] = _with_spread(one.metric, one.mean, (one.high - one.low) / 2)
        row["n"] = str(int(group["n"].max()))
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def _with_spread(metric: str, mean: float, half: float) -> str:
    """``21.3 ± 1.9``: two digits of the half interval, and as many decimals in the mean."""
    if math.isnan(half) or half == 0.0:
        return as_text(metric, float(mean))
    decimals = max(0, 1 - math.floor(math.log10(half)))
    return f"{mean:.{decimals}f} ± {half:.{decimals}f}"


def published(what: str = "") -> pd.DataFrame:
    """Published numbers, each with its source and a remark: all, or those of one table (``"table 6"``).

    They were measured on other data with other networks: to be shown beside ours, never in one column.
    Raises SummaryError for a table that is not there.
    """
    import pandas as pd

    with files("mvqlab").joinpath("published.csv").open(encoding="utf-8") as lines:
        table = pd.read_csv(lines, comment="#")
    if not what:
        return table
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
