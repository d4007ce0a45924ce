"""Figures show what they are given; the pictures that they are drawn from survive the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mvqlab import plots
from mvqlab.data.pixels import to_display
from mvqlab.plots import grid_figures
from mvqlab.results.pictures import Pictures, load_pictures


def some_pictures(n: int = 3, seed: int = 0, samples: int = 4) -> Pictures:
    rng = np.random.default_rng(seed)
    draw = lambda count: rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)  # noqa: E731
    is_kept = rng.random((n, 4, 4)) > 0.5
    return Pictures(draw(n), draw(n), rng.random((n, 4, 4), dtype=np.float32), is_kept, draw(samples))


def test_display_maps_the_range_and_clips() -> None:
    images = torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0]).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_display(images)[0, 0, :, 0].tolist()[0] == 0
    assert to_display(images)[0, 0, :, 0].tolist()[2] in (127, 128)
    assert to_display(images)[0, 0, :, 0].tolist()[3:] == [255, 255]


def test_pictures_come_back_from_disk(tmp_path: Path) -> None:
    assert load_pictures(tmp_path) is None
    pictures = some_pictures()
    pictures.save(tmp_path)
    again = load_pictures(tmp_path)
    assert all(np.array_equal(array, getattr(again, name)) for name, array in vars(pictures).items())


def test_dropped_regions_are_faded_and_kept_ones_untouched() -> None:
    image = np.full((8, 8, 3), 10, dtype=np.uint8)
    is_kept = np.array([[True, False], [False, True]])
    shown = plots.hide_dropped(image, is_kept)
    assert (shown[:4, :4] == 10).all() and (shown[4:, 4:] == 10).all()
    assert (np.abs(shown[:4, 4:] - np.array(plots.style.DROPPED, dtype=int)) < 20).all()
    assert np.array_equal(shown[4:, :4], shown[:4, 4:])


def test_rows_are_labelled_and_hold_their_images() -> None:
    pictures = some_pictures()
    rows = {"original": pictures.originals, "made": pictures.reconstructions}
    figure = plots.image_rows(rows, columns=["ankle boot", "Food & Drink"])
    axes = figure.axes
    assert [axis.get_title() for axis in axes[:3]] == ["ankle\nboot", "Food\xa0&\nDrink", ""]
    assert [axis.get_ylabel() for axis in axes if axis.get_ylabel()] == ["original", "made"]
    assert np.array_equal(axes[3].images[0].get_array(), pictures.reconstructions[0])


def test_masks_of_a_model_without_scores_say_so() -> None:
    pictures = some_pictures()
    plain = Pictures(**{**vars(pictures), "scores": np.ones_like(pictures.scores)})
    words = [text.get_text() for axis in plots.masks(plain).axes for text in axis.texts]
    assert words == ["no scores"] * 3
    assert not [text for axis in plots.masks(pictures).axes for text in axis.texts]


def test_draw_all_draws_what_a_table_has(tmp_path: Path) -> None:
    rows = []
    for index, label in enumerate(["plain VQ", "adaptive 50 %", "photographs"]):
        folder = tmp_path / str(index)
        some_pictures(seed=0 if index < 2 else 1, samples=4 if index == 1 else 0).save(folder)
        splits = ["train", "train", "validation"]
        curve = pd.DataFrame({"step": [1, 2, 2], "split": splits, "l1": [3.0, 2, 2]})
        (folder / "stage1").mkdir()
        curve.to_csv(folder / "stage1" / "curves.csv", index=False)
        rows.append({"label": label, "status": "done", "folder": str(folder), "psnr": 20.0 + index})
    rows.append({"label": "broken", "status": "failed", "folder": str(tmp_path / "none"), "psnr": None})
    drawn = {path.stem for path in plots.draw_all(pd.DataFrame(rows), tmp_path)}
    assert drawn == {
        "reconstructions",
        "reconstructions_2",
        "masks_plain_VQ",
        "masks_adaptive_50",
        "masks_photographs",
        "samples",
        "curves_stage1",
        "metrics",
    }


def points_with_masks(folder: Path, labels: list[str]) -> pd.DataFrame:
    for index, _ in enumerate(labels):
        some_pictures(seed=index).save(folder / str(index))
    folders = [str(folder / str(index)) for index, _ in enumerate(labels)]
    return pd.DataFrame({"label": labels, "status": "done", "folder": folders})


@pytest.mark.filterwarnings("ignore:constrained_layout not applied")  # such words leave no room for pictures
def test_long_labels_and_labels_that_look_alike_have_files_of_their_own(tmp_path: Path) -> None:
    long = ", ".join(f"backbone.setting_{n}=0.25" for n in range(20))
    labels = [f"{long} a", f"{long} b", "ä" * 300, "a b", "a_b", "A b", "?"]
    drawn = plots.draw_all(points_with_masks(tmp_path, labels), tmp_path)
    names = [path.name for path in drawn if path.name.startswith("masks_")]
    assert len({name.lower() for name in names}) == len(labels) and all(path.exists() for path in drawn)
    assert names[3:] == ["masks_a_b.png", "masks_a_b_2.png", "masks_A_b_3.png", "masks_point.png"]
    assert max(len(name.encode()) for name in names) < 240


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short"])
def test_damaged_pictures_are_told_and_the_others_are_drawn(tmp_path: Path, content: bytes) -> None:
    table = points_with_masks(tmp_path, ["whole", "damaged"])
    (tmp_path / "1" / "pictures.npz").write_bytes(content)
    with pytest.warns(grid_figures.DamagedPicturesWarning, match=r"1.pictures\.npz is damaged"):
        drawn = {path.stem for path in plots.draw_all(table, tmp_path)}
    assert drawn == {"reconstructions", "masks_whole", "samples"}


def test_nothing_to_draw_draws_nothing(tmp_path: Path) -> None:
    table = pd.DataFrame({"label": ["a"], "status": ["failed"], "folder": [str(tmp_path)]})
    assert plots.draw_all(table, tmp_path) == []


@pytest.mark.parametrize("values", [[1.0, 2.0], [1.0, None]])
def test_metric_bars_have_a_bar_a_point(values: list[float | None]) -> None:
    table = pd.DataFrame({"label": ["a", "b"], "psnr": values})
    figure = plots.metric_bars(table, {"psnr": "PSNR, dB"})
    assert figure.axes[0].get_xlabel() == "PSNR, dB"
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["a", "b"]
