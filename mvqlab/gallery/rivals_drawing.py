"""What rivals that draw give, and what it costs them: bits, and seconds that were measured side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

from mvqlab.evaluation.side_by_side import side_by_side
from mvqlab.gallery.asked import DIGITS, Asked, KeptError
from mvqlab.gallery.of_grids import ABLATIONS, PARTS, measured
from mvqlab.grid.report import collect
from mvqlab.plots import rival_trade_offs, save_figure
from mvqlab.results.reference import reference_table
from mvqlab.results.summary import summarise
from mvqlab.results.table_files import write_csv
from mvqlab.sampling import sample_images
from mvqlab.zoo.trained import load_trained

GRID = "rivals"
N_DRAWN = 100  # images a round
ROUNDS = 5
ARM = ["data", "arm"]
MEASURES = ["bits_per_image", "psnr", "fid_judge"]
SECONDS = ["seconds_per_image", "seconds_per_image_low", "seconds_per_image_high"]
TITLE = "Other ways to spend codes: what they cost, and what they give (hollow: bits are a bound)"


def make_rivals_drawing(asked: Asked) -> list[Path]:
    """Write rivals_drawing.csv, a row an arm that draws, and .png: PSNR over bits, FID over seconds.

    The first seed's models of all arms draw in turns; where some of them do not lie here, the seconds that
    are kept stand. Raises KeptError where none are.
    """
    path = asked.folder / f"{GRID}_drawing.csv"
    runs = measured(collect(ABLATIONS / f"{GRID}.yaml").table, GRID)
    drawing = runs[(runs["status"] == "done") & (runs["transformer"] != "none")]
    named = [variant.split(": ", 1) for variant in drawing["variant"]]
    drawing = drawing.assign(data=[PARTS[GRID][data] for data, _ in named], arm=[arm for _, arm in named])
    drawing = drawing.assign(bits_are_bound=_are_bounds(drawing))
    table = _means(drawing).merge(_seconds(drawing, asked.at_most(N_DRAWN)), on=ARM).round(DIGITS)
    return [write_csv(table, path), save_figure(rival_trade_offs(table, TITLE), path.with_suffix(".png"))]


def _are_bounds(runs: pd.DataFrame) -> pd.Series:
    """Whether bits are a bound from above, as those of pairs that may be drawn in any order are."""
    orders = runs.reindex(columns=["transformer.order"])["transformer.order"]
    return (runs["transformer"] == "masked_parallel") | (orders == "random")


def _means(drawing: pd.DataFrame) -> pd.DataFrame:
    """A row an arm, in the grid's order: the mean over seeds of each measure, and its interval's ends."""
    table = drawing[[*ARM, "bits_are_bound"]].drop_duplicates()
    for measure in MEASURES:
        means = summarise(drawing, ARM, [measure])
        ends = {"mean": measure, "low": f"{measure}_low", "high": f"{measure}_high"}
        table = table.merge(means[[*ARM, *ends]].rename(columns=ends), on=ARM)
    return table


def _seconds(drawing: pd.DataFrame, n: int) -> pd.DataFrame:
    """A row an arm: the median of rounds, the least and the most, and how many `images` a round drew."""
    firsts = drawing.drop_duplicates(ARM)
    if "folder" not in firsts or firsts["folder"].isna().any():
        kept = reference_table(f"{GRID}_drawing")
        if kept is None:
            raise KeptError(f"{GRID}: not all arms have run here: mvqlab grid run ablations/{GRID}.yaml")
        return kept[[*ARM, *SECONDS, "images", "threads"]]
    ways = {run.variant: _draws(Path(run.folder), n) for run in firsts.itertuples()}
    rounds = pd.DataFrame(side_by_side(ways, rounds=ROUNDS)) / n  # a row a round, a column an arm
    ends = dict(zip(SECONDS, (rounds.median(), rounds.min(), rounds.max()), strict=True))
    table = firsts[ARM].assign(**{name: firsts["variant"].map(values) for name, values in ends.items()})
    return table.assign(images=n, threads=torch.get_num_threads())


def _draws(run: Path, n: int) -> Callable[[], object]:
    """What draws `n` images at once by the model of the run in that folder, as its settings say."""
    trained = load_trained(run / "stage2", run / "stage1")
    asked_for = trained.config.evaluation.model_copy(update={"samples": n, "batch_size": n})
    config = trained.config.model_copy(update={"evaluation": asked_for})
    return lambda: sample_images(trained.model, trained.stage1, config)
