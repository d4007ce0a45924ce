"""The losses along the runs of claim 7: of images that train, and of images that are held out."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from mvqlab.gallery.asked import DIGITS, Asked, KeptError
from mvqlab.gallery.of_grids import ABLATIONS, measured
from mvqlab.grid.report import collect
from mvqlab.plots import overfitting_curves, save_figure
from mvqlab.results.protocol import arms_without
from mvqlab.results.reference import reference_table
from mvqlab.results.summary import compare, summarise
from mvqlab.results.table_files import write_csv

GRID = "protocol_overfitting"
HALF = "stage2.half"  # which of the two halves of the images trained
OF_A_RUN = ["arm", HALF, "seed", "point"]
MASKED = "Stackformer, 50 %"  # the arm that is compared with all others
TITLE = "1,000 images seen again and again: held-out loss turns"


def make_overfitting_curves(asked: Asked) -> list[Path]:
    """Write protocol_overfitting_curves.csv, one row per run and measured step, and .png; and _rise.csv.

    The latter has how far held-out bits rise after their lowest point, of each arm, and the difference of
    the masked one to it, paired by seed.

    Raises KeptError where no run of the grid lies here and none is kept.
    """
    path = asked.folder / f"{GRID}_curves.csv"
    runs = measured(collect(ABLATIONS / f"{GRID}.yaml").table, GRID)
    runs = runs.assign(arm=arms_without(HALF, runs))
    here = runs.reindex(columns=[*OF_A_RUN, "folder"]).dropna(subset="folder")
    parts = [losses_of(Path(run["folder"])).assign(**run[OF_A_RUN]) for _, run in here.iterrows()]
    kept = reference_table(path.stem)
    if kept is not None:
        parts.append(kept[kept["point"].isin(set(runs["point"]) - set(here["point"]))])
    if not parts:
        raise KeptError(f"{GRID}: its runs do not lie here, and no curves of theirs are kept")
    table = pd.concat(parts)
    order = {point: place for place, point in enumerate(runs["point"])}
    table = table.sort_values("point", key=lambda points: points.map(order), kind="stable")
    columns = [*OF_A_RUN, *table.columns.difference(OF_A_RUN, sort=False)]
    table = table[columns].round(DIGITS).reset_index(drop=True)
    return [
        write_csv(table, path),
        write_csv(rises(table).round(DIGITS), asked.folder / f"{GRID}_rise.csv"),
        save_figure(overfitting_curves(table, TITLE), path.with_suffix(".png")),
    ]


def rises(table: pd.DataFrame) -> pd.DataFrame:
    """One row per arm of the curves `table`: the mean of its `bits_rise`, and what the masked arm has more.

    bits_rise: held-out bits at the end over their lowest, minus 1, the mean of a seed's halves. Columns arm,
    n, mean, low, high, and more, more_low, more_high, which the masked arm itself lacks.
    """
    of_runs = table.groupby(["arm", HALF, "seed"], sort=False)["bits_per_image"].agg(["last", "min"])
    of_seeds = (of_runs["last"] / of_runs["min"] - 1.0).groupby(["arm", "seed"], sort=False).mean()
    points = of_seeds.rename("bits_rise").reset_index().assign(status="done")
    rows = []
    for row in summarise(points, ["arm"], ["bits_rise"]).to_dict("records"):
        if row["arm"] != MASKED:
            more = compare(points, "arm", MASKED, row["arm"], [], ["bits_rise"])
            ends = {"more": "mean", "more_low": "low", "more_high": "high"}
            row |= {name: more[end].get(0, math.nan) for name, end in ends.items()}
        rows.append(row)
    return pd.DataFrame(rows).drop(columns="metric")


def losses_of(run: Path) -> pd.DataFrame:
    """Columns step, code_loss (nats), bits_per_image, and the same of training images after `seen_`.

    A row each time that the run in the folder `run` measured both.
    """
    curves = pd.read_csv(run / "stage2" / "curves.csv")
    measured_rows = curves[curves["split"] == "validation"].reset_index(drop=True)
    bits = measured_rows["pairs"] / math.log(2)  # of an image, a nat of its pairs' mean
    losses = measured_rows[["step"]].copy()
    for of in ("", "seen_"):
        parts = measured_rows.reindex(columns=[f"{of}code_loss", f"{of}position_loss"])
        losses[f"{of}code_loss"] = parts[f"{of}code_loss"]
        losses[f"{of}bits_per_image"] = bits * parts.sum(axis=1)  # raster has no loss of positions
    return losses
