"""One image on its way through the model: every number and every region stands where it belongs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.patches import ConnectionPatch, Rectangle

from mvqlab import plots


def test_principal_maps_find_the_direction_of_most_variation() -> None:
    """Features that are a strong pattern along one channel mix and a weak one along another."""
    generator = torch.Generator().manual_seed(0)
    strong, weak = torch.randn(2, 5, 7, generator=generator)
    first, second = torch.linalg.qr(torch.randn(11, 2, generator=generator)).Q.T
    features = 10.0 * first[:, None, None] * strong + second[:, None, None] * weak + 3.0
    maps = plots.principal_maps(features, 2)
    assert maps.shape == (2, 5, 7)
    for found, pattern in zip(maps, (strong, weak), strict=True):
        correlation = np.corrcoef(found.ravel(), pattern.numpy().ravel())[0, 1]
        assert abs(correlation) > 0.95
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), 0.0, atol=1e-4)


@pytest.mark.parametrize("arrows", [True, False])
def test_stations_stand_in_a_row_with_arrows_between(arrows: bool) -> None:
    image, scores = np.zeros((8, 8, 3), np.uint8), np.arange(16.0).reshape(4, 4)
    is_kept = np.zeros((4, 4), bool)
    is_kept[1, 2] = True
    figure = plots.stations({"image": image, "scores": scores, "out": image}, "", is_kept, arrows)
    assert [axis.get_xlabel() for axis in figure.axes] == ["image", "scores", "out"]
    assert sum(isinstance(artist, ConnectionPatch) for artist in figure.artists) == (2 if arrows else 0)
    assert [len(axis.lines) for axis in figure.axes] == [0, 4, 0]  # the four sides of one kept region
    assert np.array_equal(figure.axes[1].images[0].get_array(), scores)


def test_a_code_stands_at_its_position_and_a_dropped_region_is_hatched() -> None:
    image = np.full((6, 6, 3), 10, np.uint8)
    figure = plots.code_grid(image, torch.tensor([7, 300]), torch.tensor([2, 3]), side=3)
    left, right = figure.axes
    assert {text.get_text(): text.get_position() for text in right.texts} == {"7": (2, 0), "300": (0, 1)}
    hatched = {
        patch.get_xy() for patch in right.patches if isinstance(patch, Rectangle) and patch.get_hatch()
    }
    every = {(column - 0.5, row - 0.5) for row in range(3) for column in range(3)}
    assert hatched == every - {(1.5, -0.5), (-0.5, 0.5)}
    shown = left.images[0].get_array()
    assert (shown[:2, 4:] == 10).all() and (shown[:2, :4] > 90).all()


def test_a_strip_shows_the_pixels_of_each_pair_in_their_order() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    figure = plots.pair_strip(image, [5, 6, 7], [1, 5, 8], side=3, n=2)
    assert figure.get_suptitle() == "The first 2 of 3 pairs"
    assert plots.pair_strip(image, [5, 6, 7], [1, 5, 8], side=3).get_suptitle() == ""
    _, first, second = figure.axes
    assert first.get_xlabel() == "code 5\nplace 1\n(row 0, col. 1)"
    assert second.get_xlabel() == "code 6\nplace 5\n(row 1, col. 2)"
    assert np.array_equal(first.images[0].get_array(), image[:2, 2:4])
    assert np.array_equal(second.images[0].get_array(), image[2:4, 4:6])
