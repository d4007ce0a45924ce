"""What runs of a grid drew, before a second judge that owes nothing to our training: `efficientnet`.

A judge that learned on the data that it judges may share the taste of the models that learned on them, too.
So the weights that a grid's runs have left draw once more, and a network that has seen photographs alone
compares. Its distances stand in a table of their own, beside those of the runs' judges, never among them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mvqlab.data import build_splits
from mvqlab.evaluation.samples.class_judge import whole_splits
from mvqlab.evaluation.samples.distances import features_of
from mvqlab.evaluation.samples.efficientnet import EfficientNetExtractor
from mvqlab.evaluation.samples.feature_extractor import FeatureExtractor
from mvqlab.evaluation.samples.judge import judge_columns
from mvqlab.evaluation.samples.reference_features import reference_features
from mvqlab.evaluation.samples.yardsticks import yardstick_images, yardsticks
from mvqlab.gallery.asked import DIGITS, Asked, KeptError
from mvqlab.gallery.of_grids import ABLATIONS, YARDSTICKS, measured
from mvqlab.grid.report import collect
from mvqlab.plots import save_figure, two_judges
from mvqlab.results.reference import reference_table
from mvqlab.results.table_files import write_csv
from mvqlab.sampling import sample_images
from mvqlab.support.progress import Progress
from mvqlab.zoo.shipped import load_stage1_named
from mvqlab.zoo.trained import load_trained

N_JUDGED = 500  # samples of a run, and as many held-out images
Judge = Callable[[Path, FeatureExtractor, int], pd.DataFrame]  # a run's folder, who judges, how many images


def make_second_judge(grid: str, asked: Asked) -> list[Path]:
    """Write GRID_second_judge.csv, a row a run or yardstick, and .png: both judges against each other.

    What a table has already is not judged again; it is written after each run, so that what is done is kept.
    Raises KeptError where no run of the grid lies here and none is kept; MissingWeightsError.
    """
    path, n = asked.folder / f"{grid}_second_judge.csv", asked.at_most(N_JUDGED)
    runs = measured(collect(ABLATIONS / f"{grid}.yaml").table, grid)
    real = reference_table(f"{grid}_yardsticks")
    if real is None:
        raise KeptError(f"{grid}: what its own judges say is not kept yet: mvqlab results make {grid}")
    table = _before(path, n)
    table = table[table["point"].isin(runs["point"])]
    jobs = _left(runs, table, YARDSTICKS[grid])
    if jobs:
        extractor = EfficientNetExtractor()
        with Progress("second judge", len(jobs)) as progress:
            for judge, run in jobs:
                rows = judge(Path(run.folder), extractor, n).round(DIGITS)
                rows = rows.assign(variant=run.variant, seed=run.seed, point=run.point)
                table = pd.concat([table, rows], ignore_index=True)
                write_csv(table, path)
                progress.advance()
    write_csv(table, path)
    return [path, save_figure(two_judges(_with_first_judge(table, runs, real)), path.with_suffix(".png"))]


def _left(runs: pd.DataFrame, table: pd.DataFrame, arms: Sequence[str]) -> list[tuple[Judge, Any]]:
    """What `table` lacks: runs that lie here, and yardsticks of the first run of each of `arms`."""
    here = runs.reindex(columns=["variant", "seed", "point", "folder"]).dropna(subset="folder")
    firsts = here[here["variant"].isin(arms)].drop_duplicates("variant")
    measured_arms = table["variant"][table["yardstick"].notna()]
    drawn = here[~here["point"].isin(table["point"][table["yardstick"].isna()])]
    real = firsts[~firsts["variant"].isin(measured_arms)]
    return [(_of_drawn, run) for run in drawn.itertuples()] + [(_of_real, run) for run in real.itertuples()]


def _before(path: Path, n: int) -> pd.DataFrame:
    """The rows of `n` images each that stand in the file, or else are kept."""
    kept = pd.read_csv(path) if path.exists() else reference_table(path.stem)
    if kept is None:
        kept = pd.DataFrame(columns=["variant", "seed", "point", "yardstick", "generated_images"])
    return kept[kept["generated_images"] == n]


def _of_drawn(run: Path, extractor: FeatureExtractor, n: int) -> pd.DataFrame:
    """One row: `n` images that the run in that folder draws, in the way and from the seed that it drew by."""
    trained = load_trained(run / "stage2", run / "stage1")
    config = trained.config
    splits = build_splits(config.data)
    real = reference_features(splits.validation, splits.data_hash, "validation", extractor, n)
    asked_for = config.evaluation.model_copy(update={"samples": n})
    drawn = sample_images(trained.model, trained.stage1, config.model_copy(update={"evaluation": asked_for}))
    generated = features_of(extractor, drawn.images, what="generated images")
    columns = judge_columns(real, generated, extractor, 0, config.seed)
    return pd.DataFrame([{**columns, "real_images": len(real), "generated_images": len(generated)}])


def _of_real(run: Path, extractor: FeatureExtractor, n: int) -> pd.DataFrame:
    """A row a yardstick: real images in the samples' place, also after the run's stage 1."""
    model = load_stage1_named(str(run / "stage1"))
    held_out = yardstick_images(whole_splits(model.config.data).validation, n, n)
    return yardsticks(held_out, [extractor], model)


def _with_first_judge(table: pd.DataFrame, runs: pd.DataFrame, real: pd.DataFrame) -> pd.DataFrame:
    """The rows of `table`, each with the `fid_judge` of its run, or of its yardstick in `real`."""
    is_drawn, on = table["yardstick"].isna(), ["variant", "yardstick"]
    of_runs = table[is_drawn].merge(runs[["point", "fid_judge"]], on="point")
    of_real = table[~is_drawn].merge(real[[*on, "fid_judge"]], on=on)
    return pd.concat([of_runs, of_real], ignore_index=True)
