"""Norm, product and de-masker, each with and without the others, where nothing is dropped (claim 2)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mvqlab.gallery.asked import DIGITS, Asked, KeptError
from mvqlab.gallery.of_grids import ABLATIONS, measured
from mvqlab.grid.report import collect
from mvqlab.plots import corner_lines, save_figure
from mvqlab.results.summary import compare, summarise
from mvqlab.results.table_files import write_csv

GRIDS = ("protocol_simple", "protocol_simple_controls")  # which have four corners each
PARTS = ["norm", "product", "de-masker"]
CORNERS = {  # which of the parts an arm has
    "0 %": (True, True, True),
    "0 %, no norm": (False, True, True),
    "0 %, no product": (True, False, True),
    "0 %, no de-masker": (True, True, False),
    "0 %, norm alone": (True, False, False),
    "0 %, product alone": (False, True, False),
    "0 %, de-masker alone": (False, False, True),
    "0 %, none of the three": (False, False, False),
}
MEASURES = ["psnr", "codebook_effective_rank", "codebook_near_duplicate_share", "codebook_perplexity_of_few"]
NAME = "protocol_simple_corners"
TITLE = "Nothing dropped: norm, product and de-masker, each with and without the others"


def make_corners(asked: Asked) -> list[Path]:
    """Write what each part brings, and what each corner is like, as two tables, and the figure of corners.

    Over the seeds that all eight corners have. Raises KeptError where there are none.
    """
    tables = [measured(collect(ABLATIONS / f"{grid}.yaml").table, grid) for grid in GRIDS]
    points = in_corners(pd.concat(tables, ignore_index=True))
    if points.empty:
        raise KeptError(f"{NAME}: no seed of {' and '.join(GRIDS)} has run in all eight corners")
    means = summarise(points, PARTS, MEASURES)
    return [
        write_csv(effects_of_parts(points).round(DIGITS), asked.folder / f"{NAME}_effects.csv"),
        write_csv(means.round(DIGITS), asked.folder / f"{NAME}.csv"),
        save_figure(corner_lines(means, PARTS, TITLE), asked.folder / f"{NAME}.png"),
    ]


def in_corners(table: pd.DataFrame) -> pd.DataFrame:
    """The done points of `table` that are corners, of seeds that all eight have; a column for each part."""
    points = table[(table["status"] == "done") & table["variant"].isin(list(CORNERS))]
    has = pd.DataFrame([CORNERS[arm] for arm in points["variant"]], columns=PARTS, index=points.index)
    n_corners = points.groupby("seed")["variant"].transform("nunique")
    return points.join(has)[n_corners == len(CORNERS)]


def effects_of_parts(points: pd.DataFrame) -> pd.DataFrame:
    """Of each part and measure: with it minus without it, over the four pairs that differ in nothing else.

    Columns part, metric, n (seeds), mean, low, high, is_clear. Raises SummaryError.
    """
    effects = []
    for part in PARTS:
        of_seeds = points.groupby([part, "seed"], as_index=False)[MEASURES].mean().assign(status="done")
        effects.append(compare(of_seeds, part, True, False, [], MEASURES).assign(part=part))
    table = pd.concat(effects, ignore_index=True)
    return table[["part", *table.columns.drop("part")]]
