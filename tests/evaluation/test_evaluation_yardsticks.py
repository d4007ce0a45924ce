"""Yardsticks are made of real images that nothing else was compared with."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from torch import Tensor

from mvqlab.data import PictureDataset
from mvqlab.data.dataset import Picture
from mvqlab.evaluation.samples.distances import frechet_distance
from mvqlab.evaluation.samples.feature_extractor import FeatureExtractor
from mvqlab.evaluation.samples.yardsticks import judged_images, yardstick_images, yardsticks


class Numbered(PictureDataset):
    """Pictures of noise, the first pixel of which is the picture's number."""

    def __init__(self, size: int) -> None:
        super().__init__(size, 16)

    def picture(self, index: int) -> Picture:
        generator = torch.Generator().manual_seed(index)
        pixels = torch.randint(0, 256, (3, 16, 16), generator=generator).byte()
        pixels[:, 0, 0] = index
        return Picture(pixels.numpy(), 0)


class Corners(FeatureExtractor):
    """The means of both halves."""

    def forward(self, images: Tensor) -> Tensor:
        return images.float().unflatten(3, (2, 8)).mean(dim=(2, 4)).flatten(1)


@pytest.mark.parametrize(
    ("size", "wanted", "got"),
    [
        (200, (100, 70), (100, 70)),
        (200, (100, 100), (100, 100)),
        (30, (20, 12), (15, 12)),
        (9, (50, 40), (4, 5)),
    ],
)
def test_no_image_is_judged_against_itself(size: int, wanted: tuple[int, int], got: tuple[int, int]) -> None:
    held_out = yardstick_images(Numbered(size), *wanted)
    real = held_out.real[:, 0, 0, 0].tolist()
    other = judged_images(held_out)["real"][:, 0, 0, 0].tolist()
    assert (len(real), len(other)) == got
    assert real + other == list(range(sum(got)))


def test_a_row_a_yardstick_with_the_columns_of_a_results_table() -> None:
    held_out = yardstick_images(Numbered(60), 30, 30)
    extractor = Corners("corners", "corners", 6)
    table = yardsticks(held_out, [extractor])
    assert isinstance(table, pd.DataFrame) and not table.isna().any(axis=None)
    rows = table.set_index("yardstick")
    images = judged_images(held_out)
    assert list(rows.index) == list(images)
    real = extractor(held_out.real).double()
    for name, of_name in images.items():
        expected = frechet_distance(real, extractor(of_name).double())
        assert rows.loc[name, "fid_corners"] == pytest.approx(expected)
    assert (rows["real_images"] == 30).all() and (rows["generated_images"] == 30).all()
