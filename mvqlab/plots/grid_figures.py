"""The figures of a finished grid."""

from __future__ import annotations

import csv
import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mvqlab.plots.grid_panels import MANY, curve_range, curves, metric_bars, metric_spread
from mvqlab.plots.picture_rows import image_rows, masks
from mvqlab.plots.style import save_figure
from mvqlab.results.pictures import Pictures, PicturesError, load_pictures

Figures = Iterator[tuple[str, Figure]]  # names of files and what goes there, drawn when asked for
LONGEST = 50  # characters of a label in a file's name, up to 200 bytes of the 255 that systems allow
A_FEW = 4  # points whose pictures stand for many


# What every grid draws beside its pictures; what its own file asks for under `plot` comes besides.
# Of each stage's curves: the column, its axis and the title.
CURVES = {
    "stage1": ("l1", "L1 on [-1, 1]", "Stage 1: reconstruction error"),
    "stage2": ("code_loss", "cross-entropy of a code, nats", "Stage 2: predicting the next code"),
}
# Of the points' results: the columns, and their axes.
METRICS = {
    "psnr": "PSNR, dB (higher is better)",
    "codebook_perplexity": "codebook perplexity",
    "score_auc": "AUC, score against true mask",
    "fid_judge": "FID, judges' features (lower is better)",
    "fid_lab": "FID, lab features (lower is better)",
}


class DamagedPicturesWarning(UserWarning):
    """Pictures that a point kept cannot be read, and are not shown."""


def draw_all(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Draw every figure that the finished points of `table` allow into `folder`; returns their paths.

    `table` is what `results.load` gives: one row a point, with its `label` and its `folder`. Of more than
    MANY points pictures are shown of a few, spread evenly over the table; curves and metrics are summarised.
    Of pictures that cannot be read a DamagedPicturesWarning tells.
    """
    done = table[table["status"] == "done"]
    # seeds look alike: the first of each variant is shown
    shown = done.drop_duplicates("variant") if "variant" in done else done
    of_how_many = ""
    if len(shown) > MANY:
        of_how_many = f" ({A_FEW} of {len(shown)} points, evenly chosen)"
        shown = shown.iloc[np.linspace(0, len(shown) - 1, A_FEW).round().astype(int)]
    pictures = dict(_kept_pictures(shown))
    figures = itertools.chain(
        _reconstruction_figures(pictures, of_how_many),
        _mask_figures(pictures),
        _sample_figures(pictures, of_how_many),
        _curve_figures(done),
        _metric_figures(done),
    )
    # each is let go of before the next is drawn: a figure of pictures holds many megabytes
    return [save_figure(figure, Path(folder) / f"{name}.png") for name, figure in figures]


def _kept_pictures(shown: pd.DataFrame) -> Iterator[tuple[str, Pictures]]:
    """The pictures of the points that kept some, by label; of what is damaged it warns."""
    for row in shown.itertuples():
        try:
            kept = load_pictures(Path(row.folder))
        except PicturesError as error:
            warnings.warn(f"{error}; it is left out of the figures", DamagedPicturesWarning, stacklevel=3)
            continue
        if kept is not None:
            yield row.label, kept


def _reconstruction_figures(pictures: Mapping[str, Pictures], of_how_many: str) -> Figures:
    """One figure for each set of originals, with a row a point."""
    remaining = dict(pictures)
    for number in itertools.count(1):
        if not remaining:
            return
        originals = next(iter(remaining.values())).originals[:8]
        same = {
            label: kept for label, kept in remaining.items() if np.array_equal(kept.originals[:8], originals)
        }
        rows = {"original": originals, **{label: kept.reconstructions[:8] for label, kept in same.items()}}
        name = "reconstructions" if number == 1 else f"reconstructions_{number}"
        yield name, image_rows(rows, f"Reconstructions of held-out images{of_how_many}")
        remaining = {label: kept for label, kept in remaining.items() if label not in same}


def _mask_figures(pictures: Mapping[str, Pictures]) -> Figures:
    names = _file_names(pictures)
    for label, kept in pictures.items():
        if not kept.is_kept.all():
            yield f"masks_{names[label]}", masks(kept, label)


def _sample_figures(pictures: Mapping[str, Pictures], of_how_many: str) -> Figures:
    rows: dict[str, NDArray[np.uint8]] = {}
    for label, kept in pictures.items():
        for first in range(0, min(len(kept.samples), 30), 10):
            rows[label if first == 0 else f"{label} ({first // 10 + 1})"] = kept.samples[first : first + 10]
    if rows:
        yield "samples", image_rows(rows, f"Samples, not selected{of_how_many}")


def _curve_figures(done: pd.DataFrame) -> Figures:
    means = ", means over seeds" if "variant" in done and done["variant"].duplicated().any() else ""
    for stage, (value, ylabel, title) in CURVES.items():
        found = _all_curves(done, stage, value)
        n_runs = found["run"].nunique()
        if n_runs > MANY:
            yield f"curves_{stage}", curve_range(found, value, ylabel, f"{title}, {n_runs} runs")
        elif n_runs:
            yield f"curves_{stage}", curves(found, value, ylabel, f"{title}{means}")


def _all_curves(done: pd.DataFrame, stage: str, value: str) -> pd.DataFrame:
    """Columns run, step, split and `value` of all points' curves, one `run` a variant: seeds are averaged."""
    columns: dict[str, list[Any]] = {"run": [], "step": [], "split": [], value: []}
    for row in done.itertuples():
        path = Path(row.folder) / stage / "curves.csv"
        if not path.exists():
            continue
        found = _points_of(path, value)
        columns["run"] += [getattr(row, "variant", row.label)] * len(found)
        for name, cells in zip(("step", "split", value), zip(*found, strict=True), strict=False):
            columns[name] += cells
    return pd.DataFrame(columns)


def _points_of(path: Path, value: str) -> list[tuple[int, str, float]]:
    """Step, split and `value` of a run's curves; what is cut short or cannot be read is left out."""
    found = []
    try:
        with path.open(newline="", encoding="utf-8") as lines:  # pandas takes ten times as long for so few
            for cells in csv.DictReader(lines):
                with suppress(KeyError, TypeError, ValueError):
                    found.append((int(cells["step"]), cells["split"], float(cells[value])))
    except (OSError, ValueError, csv.Error):
        return found
    return found


def _metric_figures(done: pd.DataFrame) -> Figures:
    shown = {name: label for name, label in METRICS.items() if name in done and done[name].notna().any()}
    if shown and len(done) > MANY:
        yield "metrics", metric_spread(done, shown, f"The grid's {len(done)} points")
    elif shown:
        yield "metrics", metric_bars(done, shown, "The grid's points")


def _file_names(labels: Iterable[str]) -> dict[str, str]:
    """A part of a file's name for each label, at most LONGEST characters and a number, no two alike.

    They differ by more than capitals, which some systems take for the same.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    for label in labels:
        slug = _slug(label)
        numbered = itertools.chain([slug], (f"{slug}_{n}" for n in itertools.count(2)))
        names[label] = next(name for name in numbered if name.lower() not in taken)
        taken.add(names[label].lower())
    return names


def _slug(label: str) -> str:
    words = "".join(character if character.isalnum() else "_" for character in label)
    return words.strip("_")[:LONGEST].strip("_") or "point"
