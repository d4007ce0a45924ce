"""The kept tables and figures of grids: all columns, means over seeds, paired differences, pictures.

They are taken from the grid's results folder where it has been run here; otherwise the kept table of all
columns stands, and means, differences and their figure are made from it anew.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from mvqlab.gallery.asked import DIGITS, Asked, KeptError
from mvqlab.gallery.judged import yardsticks_of
from mvqlab.grid.report import Summaries, collect, summaries
from mvqlab.grid.spec import Plot
from mvqlab.plots import draw_all, image_rows, save_figure
from mvqlab.results.pictures import load_pictures
from mvqlab.results.reference import FOLDER as KEPT
from mvqlab.results.reference import reference_table
from mvqlab.results.table_files import write_csv
from mvqlab.support.files import temporary_folder
from mvqlab.support.lab import LAB

ABLATIONS = LAB / "ablations"
# what `draw_all` calls the pictures of a grid that keeps some, and what they are kept as
PICTURES = {
    "quickstart": {
        "masks_adaptive_50": "masks",
        "masks_emoji": "masks_emoji",
        "reconstructions": "reconstructions",
        "samples": "samples",
    }
}
NAMES = (
    "quickstart",
    "mask_ratio",
    "mask_ratio_range",
    "budgets",
    "budgets_filters",
    "order",
    "pilot_simple",
    "protocol_simple",
    "protocol_simple_controls",
    "protocol_simple_stage2",
    "protocol_fashion",
    "protocol_fashion_stage2",
    "protocol_emoji",
    "protocol_overfitting",
    "scorer_recipes",
)
# grids that run for days, on several machines, or of which a rule drops arms: what is done is kept and
# added to as more is done, and seeds are counted
AS_THEY_FILL = ("protocol_", "scorer_recipes", "rivals")
# arms whose stage 1, of the first seed, restores the real images beside which a grid's distances are read
YARDSTICKS = {
    "protocol_simple_stage2": ("raster, plain VQ", "Stackformer, 50 %"),
    "protocol_fashion_stage2": ("raster, plain VQ", "Stackformer, 50 %"),
}
# grids of several data sets, whose arms are called "DATA: ARM", and what figures and tables call the data: a
# figure each, since no panel has a scale that fits them all
PARTS = {"rivals": {"simple": "simple scenes", "fashion": "garments", "emoji": "emoji"}}
N_SAMPLES = 16  # of an arm, shown
COMPARED = ("mask_ratio", "budgets", "pilot_simple")


def files_of(name: str) -> list[str]:
    """The files that `make_grid` writes for the grid `name`."""
    if name in PICTURES:
        return [f"{name}.csv", *(f"{name}_{kept}.png" for kept in PICTURES[name].values())]
    compared = [f"{name}_comparison.csv"] if name in COMPARED else []
    beside = [f"{name}_yardsticks.csv", f"{name}_samples.png"] if name in YARDSTICKS else []
    figures = [f"{name}_{part}.png" for part in PARTS.get(name, ["summary"])]
    return [f"{name}.csv", *beside, f"{name}_summary.csv", *compared, *figures]


def make_grid(name: str, asked: Asked) -> list[Path]:
    """Write the kept files of the grid ``ablations/NAME.yaml``. Raises KeptError, GridError."""
    collected = collect(ABLATIONS / f"{name}.yaml")
    table = measured(collected.table, name)
    written = [write_csv(table.drop(columns="folder", errors="ignore"), asked.folder / f"{name}.csv")]
    if "folder" in table:
        written += _pictures(table, name, asked.folder)
    if name in YARDSTICKS:
        written += [_yardsticks(table, name, asked), _samples(table, name, asked.folder)]
    return written if collected.plot is None else written + _means(table, collected.plot, name, asked.folder)


def measured(found: pd.DataFrame, name: str) -> pd.DataFrame:
    """The grid's own table if all of it has run, or if none of it has the kept one, without `folder`.

    Of the protocol's grids what is done is enough, here or in the kept table. Raises KeptError where the grid
    has run in part and may not, or nothing has run and nothing is kept.
    """
    n_done = int((found["status"] == "done").sum())
    run = f"mvqlab grid run ablations/{name}.yaml"
    if n_done == len(found):
        return found
    kept = reference_table(name)
    if n_done and name.startswith(AS_THEY_FILL):
        return _added_to(kept, found)
    if n_done:
        raise KeptError(f"{name}: {n_done} of {len(found)} points are done; the others: {run}")
    if kept is None:
        raise KeptError(f"{name}: no point has run here, and there is no {KEPT / name}.csv: {run}")
    return kept


def _added_to(kept: pd.DataFrame | None, found: pd.DataFrame) -> pd.DataFrame:
    """The points of `found` that are done, and `kept` rows of those that are not; in the grid's order."""
    done = found[found["status"] == "done"]
    if kept is None:
        return done
    kept = kept[kept["point"].isin(set(found["point"]) - set(done["point"]))]
    kept = kept.assign(started=pd.to_datetime(kept["started"], utc=True, errors="coerce"))
    place = {point: place for place, point in enumerate(found["point"])}
    both = pd.concat([done, kept]).sort_values("point", key=lambda points: points.map(place))
    return both.reset_index(drop=True)


def _yardsticks(table: pd.DataFrame, name: str, asked: Asked) -> Path:
    """The table of `yardsticks_of` the arms in `YARDSTICKS`; the kept one where they have not run here."""
    kept, parts = reference_table(f"{name}_yardsticks"), []
    run_here = _first_folders(table)
    for arm in YARDSTICKS[name]:
        if arm in run_here:
            of_arm = yardsticks_of(str(run_here[arm] / "stage1"), asked)
            parts.append(of_arm.assign(variant=arm).round(DIGITS))
        elif kept is not None:
            parts.append(kept[kept["variant"] == arm])
    if not parts:
        raise KeptError(f"{name}: no point of {' or '.join(YARDSTICKS[name])} has run here, and none is kept")
    return write_csv(pd.concat(parts, ignore_index=True), asked.folder / f"{name}_yardsticks.csv")


def _samples(table: pd.DataFrame, name: str, folder: Path) -> Path:
    """A row an arm: the first samples of its first seed. The kept picture where an arm has not run here."""
    path, before = folder / f"{name}_samples.png", KEPT / f"{name}_samples.png"
    of_arms = {arm: load_pictures(run) for arm, run in _first_folders(table).items()}
    rows = {arm: kept.samples[:N_SAMPLES] for arm, kept in of_arms.items() if kept is not None}
    if before.exists() and len(rows) < table["variant"].nunique():
        return path if path.resolve() == before.resolve() else Path(shutil.copyfile(before, path))
    return save_figure(image_rows(rows, "The first samples of each arm's first seed, not selected"), path)


def _first_folders(table: pd.DataFrame) -> dict[str, Path]:
    """The folder of each arm's first point, of those that have run here: kept rows have none."""
    here = table.reindex(columns=["variant", "folder"]).dropna().drop_duplicates("variant")
    return dict(zip(here["variant"], map(Path, here["folder"]), strict=True))


def _means(table: pd.DataFrame, plot: Plot, name: str, folder: Path) -> list[Path]:
    found = summaries(table, plot)
    written = [write_csv(found.means, folder / f"{name}_summary.csv")]
    if found.comparison is not None:
        written.append(write_csv(found.comparison, folder / f"{name}_comparison.csv"))
    if name not in PARTS:
        return [*written, found.draw(plot, folder / f"{name}_summary.png")]
    figures = [_of_part(found, part).draw(plot, folder / f"{name}_{part}.png") for part in PARTS[name]]
    return [*written, *figures]


def _of_part(found: Summaries, part: str) -> Summaries:
    """The rows of the arms "PART: ARM", which are called ARM there."""
    begins = f"{part}: "
    means, seeds = (
        rows[rows["variant"].str.startswith(begins)].assign(
            variant=lambda kept: kept["variant"].str.removeprefix(begins)
        )
        for rows in (found.means, found.seeds)
    )
    return Summaries(means, None, seeds)


def _pictures(table: pd.DataFrame, name: str, folder: Path) -> list[Path]:
    """The pictures that are kept of the grid `name`, of those that its points allow."""
    wanted = PICTURES.get(name, {})
    if not wanted:
        return []
    written = []
    with temporary_folder(folder) as temporary:
        for path in draw_all(table, temporary):
            if path.stem in wanted:
                written.append(folder / f"{name}_{wanted[path.stem]}.png")
                shutil.move(path, written[-1])
    return written
