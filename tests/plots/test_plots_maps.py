"""Maps over regions: numbers stand where they belong, rows stay in line, fences follow what is kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from mvqlab import plots
from mvqlab.plots.method.maps import fence


def drawn(figure: Figure) -> Figure:
    figure.canvas.draw()
    return figure


def segments(is_kept: np.ndarray) -> set[tuple[tuple[float, ...], tuple[float, ...]]]:
    axis = Figure().subplots()
    fence(axis, is_kept)
    return {(tuple(line.get_xdata()), tuple(line.get_ydata())) for line in axis.lines}


def test_a_fence_goes_around_a_single_region() -> None:
    is_kept = np.zeros((3, 4), dtype=bool)
    is_kept[1, 2] = True
    left, right = ((1.5, 1.5), (0.5, 1.5)), ((2.5, 2.5), (0.5, 1.5))
    above, below = ((1.5, 2.5), (0.5, 0.5)), ((1.5, 2.5), (1.5, 1.5))
    assert segments(is_kept) == {left, right, above, below}


def test_no_fence_stands_between_two_kept_regions() -> None:
    found = segments(np.ones((2, 3), dtype=bool))
    assert len(found) == 10  # the rim alone
    assert ((0.5, 0.5), (-0.5, 0.5)) not in found


def test_a_map_of_yes_and_no_has_no_numbers_between() -> None:
    figure = drawn(plots.map_rows({"may": torch.eye(3)[None], "score": torch.rand(1, 3, 3)}))
    ticks = [bar.get_yticks().tolist() for panel in figure.axes for bar in panel.child_axes]
    assert ticks[0] == [0, 1] and len(ticks[1]) > 2


def test_rows_hold_their_maps_on_one_scale() -> None:
    maps = torch.arange(18.0).view(2, 3, 3)
    figure = plots.map_rows({"scores": maps, "flat": torch.ones(2, 3, 3)}, columns=["one", "two"])
    panels = [axis for axis in figure.axes if axis.images]
    for column in range(2):
        assert np.array_equal(panels[column].images[0].get_array(), maps[column])
        assert panels[column].images[0].get_clim() == (0.0, 17.0)
    low, high = panels[2].images[0].get_clim()
    assert low == 1.0 and high > low
    assert [axis.get_title() for axis in panels[:2]] == ["one", "two"]
    drawn(figure)


def test_limits_fix_the_scale_of_their_row_only() -> None:
    maps = torch.rand(1, 2, 2)
    figure = plots.map_rows({"a": maps, "b": maps}, limits={"b": (0.0, 4.0)})
    first, second = (axis for axis in figure.axes if axis.images)
    assert second.images[0].get_clim() == (0.0, 4.0)
    assert first.images[0].get_clim() == (float(maps.min()), float(maps.max()))


def test_images_and_maps_share_the_regions_coordinates() -> None:
    """An image of 8 pixels above a map of 4 regions: a mark must hit the same place in both."""
    image = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    figure = drawn(plots.map_rows({"image": image, "map": torch.rand(1, 4, 4)}, marked=[6]))
    above, below = (axis for axis in figure.axes if axis.images)
    for axis in (above, below):
        assert tuple(axis.images[0].get_extent()) == (-0.5, 3.5, 3.5, -0.5)
        assert (axis.lines[-1].get_xdata()[0], axis.lines[-1].get_ydata()[0]) == (2, 1)  # row 1, column 2
    assert above.get_position().x0 == pytest.approx(below.get_position().x0, abs=1e-6)
    assert above.get_position().x1 == pytest.approx(below.get_position().x1, abs=1e-6)


def test_images_alone_are_refused() -> None:
    with pytest.raises(ValueError, match="image_rows"):
        plots.map_rows({"image": np.zeros((1, 8, 8, 3), dtype=np.uint8)})


def test_a_score_map_writes_every_score_in_its_region() -> None:
    scores = torch.tensor([[0.1, 0.25], [0.5, 0.99]])
    is_object = np.zeros((8, 8), dtype=bool)
    is_object[2:6, 2:6] = True
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    figure = drawn(plots.score_map(image, scores, scores > 0.4, is_object))
    written = {text.get_position(): text.get_text() for text in figure.axes[1].texts}
    assert written == {(0, 0): "0.10", (1, 0): "0.25", (0, 1): "0.50", (1, 1): "0.99"}
    outline = figure.axes[0].collections[-1].get_paths()[0].vertices
    assert outline[:, 0].min() == pytest.approx(0.0, abs=0.13)  # pixels 2 to 6 of 8 are regions 0.0 to 1.0
    assert outline[:, 0].max() == pytest.approx(1.0, abs=0.13)
