"""The figures of a finished grid."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mvqlab.files import whole_file
from mvqlab.pictures import Pictures, load_pictures
from mvqlab.plots.images import image_rows, masks
from mvqlab.plots.tables import curves, metric_bars


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
    means = ", means over seeds" if "variant" in done and done["variant"].duplicated().any() else ""
    figures = {}
    if len(stage1):
        title = f"Stage 1: reconstruction error{means}"
        figures["curves_stage1"] = curves(stage1, "l1", "L1 on [-1, 1]", title)
    if len(stage2):
        title = f"Stage 2: predicting the next code{means}"
        figures["curves_stage2"] = curves(stage2, "code_loss", "cross-entropy of a code, nats", title)
    return figures


def _all_curves(done: pd.DataFrame, stage: str) -> pd.DataFrame:
    """The curves of all points, one `run` a variant: seeds are to be averaged."""
    tables = []
    for row in done.itertuples():
        path = Path(row.folder) / stage / "curves.csv"
        if path.exists():
            run = getattr(row, "variant", row.label)
            tables.append(pd.read_csv(path).assign(run=run))
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


def _slug(label: str) -> str:
    return "".join(character if character.isalnum() else "_" for character in label).strip("_")
