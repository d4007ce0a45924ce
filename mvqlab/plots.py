"""Figures: rows of images, masks and score maps, curves, and metrics over a grid's table.

Every function returns a matplotlib Figure; `draw_all` writes the figures of a finished grid. Colours are
seaborn's colour-blind palette, maps are cividis, and no meaning hangs on colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mvqlab.columns import heading
from mvqlab.files import whole_file
from mvqlab.pictures import Pictures, load_pictures

CELL = 0.95  # inches of an image in a figure


def image_rows(rows: Mapping[str, NDArray[np.uint8]], title: str = "") -> Figure:
    """One labelled row of images (n, H, W, 3) below the other."""
    n_columns = max(len(images) for images in rows.values())
    figure, axes = _picture_grid(len(rows), n_columns, title, margin=1.7)
    for row, (label, images) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(row, images, strict=False):
            axis.imshow(image)
        _name_row(row[0], label)
    return figure


def masks(pictures: Pictures, title: str = "", n_images: int = 8) -> Figure:
    """Original, score map, kept regions and reconstruction, column by column."""
    n = min(n_images, len(pictures.originals))
    figure, axes = _picture_grid(4, n, title, margin=1.7)
    has_scores = np.ptp(pictures.scores) > 0
    for column in range(n):
        image = pictures.originals[column]
        axes[0, column].imshow(image)
        if has_scores:
            axes[1, column].imshow(pictures.scores[column], cmap="cividis")
        else:
            axes[1, column].text(0.5, 0.5, "no scores", ha="center", va="center", fontsize=7)
        axes[2, column].imshow(hide_dropped(image, pictures.is_kept[column]))
        axes[3, column].imshow(pictures.reconstructions[column])
    for axis, label in zip(axes[:, 0], ("original", "score", "kept regions", "reconstruction"), strict=True):
        _name_row(axis, label)
    return figure


def hide_dropped(image: NDArray[np.uint8], is_kept: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """`image` (H, W, 3) with the regions that are not kept (h, w) faded to a light grey."""
    factor = image.shape[0] // is_kept.shape[0]
    kept = np.kron(is_kept, np.ones((factor, factor), dtype=bool))[..., None]
    return np.where(kept, image, (0.12 * image + 0.88 * 235).astype(np.uint8))


def curves(table: pd.DataFrame, value: str, ylabel: str, title: str = "") -> Figure:
    """`value` over steps, a colour a `run`, a dash a `split`."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    shown = table.dropna(subset=[value])
    sns.lineplot(
        shown, x="step", y=value, hue="run", style="split", palette="colorblind", ax=axis, errorbar=None
    )
    validation = shown[shown["split"] == "validation"]
    sns.scatterplot(
        validation, x="step", y=value, hue="run", palette="colorblind", ax=axis, legend=False, s=45
    )
    axis.set(xlabel="step", ylabel=ylabel, title=title)
    axis.set_yscale("log")
    axis.grid(alpha=0.3)
    sns.move_legend(axis, "upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8)
    return figure


def metric_bars(table: pd.DataFrame, columns: Mapping[str, str], title: str = "") -> Figure:
    """One panel of bars a metric (column name -> axis label), one bar a point of the grid."""
    figure = Figure(figsize=(2.6 * len(columns) + 1.6, 0.42 * len(table) + 1.4), layout="constrained")
    panels = np.atleast_1d(figure.subplots(1, len(columns), sharey=True))
    for axis, (column, label) in zip(panels, columns.items(), strict=True):
        sns.barplot(table, x=column, y="label", hue="label", palette="colorblind", ax=axis, legend=False)
        axis.set(xlabel=label, ylabel="")
        for bars in axis.containers:
            axis.bar_label(bars, fmt="%.3g", fontsize=8, padding=2)
        axis.margins(x=0.2)
    figure.suptitle(title)
    return figure


def summary_lines(summary: pd.DataFrame, x: str, hues: Sequence[str]) -> Figure:
    """What `results.summarise` gives: a panel a metric, its mean and 95 % interval over `x`.

    Numbers `x` run to the right; names stand below each other.
    """
    metrics = list(dict.fromkeys(summary["metric"]))
    is_number = pd.api.types.is_numeric_dtype(summary[x])
    n_columns = min(3, len(metrics))
    n_rows = -(-len(metrics) // n_columns)
    height = 3.2 if is_number else 1.2 + 0.3 * summary[x].nunique()
    figure = Figure(figsize=(3.8 * n_columns + 0.6, height * n_rows), layout="constrained")
    panels = list(figure.subplots(n_rows, n_columns, squeeze=False, sharey=not is_number).flat)
    for axis, metric in zip(panels, metrics, strict=False):
        _intervals(axis, summary[summary["metric"] == metric], x, hues, is_number)
        value, across = heading(metric), heading(x)
        axis.set(xlabel=across if is_number else value, ylabel=value if is_number else "")
        axis.grid(alpha=0.3)
    for axis in panels[len(metrics) :]:
        axis.set_visible(False)
    if not is_number:
        panels[0].invert_yaxis()
    if hues:
        panels[0].legend(title=", ".join(hues), frameon=False, fontsize=8)
    n = int(summary["n"].max())
    figure.suptitle(f"Means over {n} seeds, with 95 % intervals" if n > 1 else "One seed", fontsize=10)
    return figure


def _intervals(axis: Axes, rows: pd.DataFrame, x: str, hues: Sequence[str], is_number: bool) -> None:
    """Means and intervals of one metric; groups stand a little beside each other, so that none hides one."""
    groups = list(rows.groupby(list(hues), sort=False)) if hues else [((), rows)]
    places = {value: value if is_number else place for place, value in enumerate(dict.fromkeys(rows[x]))}
    width = (max(places.values()) - min(places.values())) or 1.0
    for number, (name, group) in enumerate(groups):
        aside = 0.012 * width * (number - (len(groups) - 1) / 2)
        along = [places[value] + aside for value in group[x]]
        means, halves = group["mean"].tolist(), (group["high"] - group["mean"]).fillna(0.0).tolist()
        points = (along, means, halves, None) if is_number else (means, along, None, halves)
        axis.errorbar(
            *points,
            label=", ".join(map(str, name)),
            color=sns.color_palette("colorblind")[number % 10],
            marker="os^Dv"[number % 5],
            linestyle="-" if is_number else "",
            capsize=3,
        )
    if not is_number:
        axis.set_yticks(list(places.values()), [str(value) for value in places])


def ratio_bars(table: pd.DataFrame, title: str = "") -> Figure:
    """A benchmark's table: how many times faster each way is than its reference, on a log axis."""
    names = table["work"] + ": " + table["way"]
    figure = Figure(figsize=(10, 0.3 * len(table) + 1.2), layout="constrained")
    axis = figure.subplots()
    sns.barplot(
        x=table["times_faster"], y=names, hue=table["work"], palette="colorblind", ax=axis, legend=False
    )
    for bars in axis.containers:
        axis.bar_label(bars, fmt="%.3g", fontsize=8, padding=2)
    axis.axvline(1.0, color="0.4", linewidth=1)
    axis.set(xlabel="times faster than the reference (bar at 1)", ylabel="", title=title, xscale="log")
    axis.margins(x=0.15)
    return figure


def save_figure(figure: Figure, path: Path) -> Path:
    """Write `figure` as a PNG, whole, and return its path."""
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=140, format="png", bbox_inches="tight")
    return path


def draw_all(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Draw every figure that the finished points of `table` allow into `folder`; returns their paths.

    `table` is what `results.load` gives: one row a point, with its `label` and its `folder`.
    """
    done = table[table["status"] == "done"]
    # seeds look alike: the first of each variant is shown
    shown = done.drop_duplicates("variant") if "variant" in done else done
    pictures = {row.label: load_pictures(Path(row.folder)) for row in shown.itertuples()}
    pictures = {label: kept for label, kept in pictures.items() if kept is not None}
    figures = {
        **_reconstruction_figures(pictures),
        **_mask_figures(pictures),
        **_sample_figures(pictures),
        **_curve_figures(done),
        **_metric_figures(done),
    }
    return [save_figure(figure, Path(folder) / f"{name}.png") for name, figure in figures.items()]


def _reconstruction_figures(pictures: Mapping[str, Pictures]) -> dict[str, Figure]:
    """One figure for each set of originals, with a row a point."""
    figures: dict[str, Figure] = {}
    remaining = dict(pictures)
    while remaining:
        originals = next(iter(remaining.values())).originals[:8]
        same = {
            label: kept for label, kept in remaining.items() if np.array_equal(kept.originals[:8], originals)
        }
        rows = {"original": originals, **{label: kept.reconstructions[:8] for label, kept in same.items()}}
        name = "reconstructions" if not figures else f"reconstructions_{len(figures) + 1}"
        figures[name] = image_rows(rows, "Reconstructions of held-out images")
        remaining = {label: kept for label, kept in remaining.items() if label not in same}
    return figures


def _mask_figures(pictures: Mapping[str, Pictures]) -> dict[str, Figure]:
    masked = {label: kept for label, kept in pictures.items() if not kept.is_kept.all()}
    return {f"masks_{_slug(label)}": masks(kept, label) for label, kept in masked.items()}


def _sample_figures(pictures: Mapping[str, Pictures]) -> dict[str, Figure]:
    rows: dict[str, NDArray[np.uint8]] = {}
    for label, kept in pictures.items():
        for first in range(0, min(len(kept.samples), 30), 10):
            rows[label if first == 0 else f"{label} ({first // 10 + 1})"] = kept.samples[first : first + 10]
    return {"samples": image_rows(rows, "Samples, not selected")} if rows else {}


def _curve_figures(done: pd.DataFrame) -> dict[str, Figure]:
    stage1 = _all_curves(done, "stage1")
    stage2 = _all_curves(done, "stage2")
    figures = {}
    if len(stage1):
        figures["curves_stage1"] = curves(stage1, "l1", "L1 on [-1, 1]", "Stage 1: reconstruction error")
    if len(stage2):
        figures["curves_stage2"] = curves(
            stage2, "code_loss", "cross-entropy of a code, nats", "Stage 2: predicting the next code"
        )
    return figures


def _all_curves(done: pd.DataFrame, stage: str) -> pd.DataFrame:
    tables = []
    for row in done.itertuples():
        path = Path(row.folder) / stage / "curves.csv"
        if path.exists():
            tables.append(pd.read_csv(path).assign(run=row.label))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


METRICS = {
    "psnr": "PSNR, dB (higher is better)",
    "codebook_perplexity": "codebook perplexity",
    "score_auc": "AUC, score against true mask",
    "fid_lab": "FID, lab features (lower is better)",
}


def _metric_figures(done: pd.DataFrame) -> dict[str, Figure]:
    shown = {name: label for name, label in METRICS.items() if name in done and done[name].notna().any()}
    if not shown:
        return {}
    return {"metrics": metric_bars(done, shown, "The grid's points")}


def _picture_grid(
    n_rows: int, n_columns: int, title: str, margin: float
) -> tuple[Figure, NDArray[np.object_]]:
    figure = Figure(figsize=(n_columns * CELL + margin, n_rows * CELL + 0.4), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False, gridspec_kw={"wspace": 0.03, "hspace": 0.03})
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    figure.suptitle(title, fontsize=10)
    return figure, axes


def _name_row(axis: Axes, label: str) -> None:
    axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8)


def _slug(label: str) -> str:
    return "".join(character if character.isalnum() else "_" for character in label).strip("_")
