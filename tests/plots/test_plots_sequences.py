"""Figures of sequences show what they are given."""

from __future__ import annotations

import numpy as np
import torch

from mvqlab import plots


def words(axis: object) -> list[str]:
    return [text.get_text() for text in axis.texts]


def test_pair_orders_number_the_places() -> None:
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    figure = plots.pair_orders(image, {"raster": [1, 6], "score": torch.tensor([6, 1])}, side=4)
    names = [axis.get_title() for axis in figure.axes]
    assert names == ["image", "raster", "score"]
    for axis, places in zip(figure.axes[1:], ([(1, 0), (2, 1)], [(2, 1), (1, 0)]), strict=True):
        assert words(axis) == ["1", "2"]
        assert [text.get_position() for text in axis.texts] == places  # (column, row)


def test_logit_change_maps_leave_no_change_blank_and_share_a_scale() -> None:
    some = torch.tensor([[0.0, 0.1], [0.0, 0.0]])
    rows = {"code": {"codes": some, "positions": some * 100}, "position": {"codes": some, "positions": some}}
    figure = plots.logit_change_maps(rows)
    panels = figure.axes[:4]
    shown = np.ma.filled(panels[0].images[0].get_array().astype(float), np.nan)
    assert np.isnan(shown[0, 0]) and np.isclose(shown[0, 1], -1.0)
    assert all(axis.images[0].get_clim() == panels[0].images[0].get_clim() for axis in panels)
    assert np.allclose(panels[0].images[0].get_clim(), (-1.0, 1.0))
    assert panels[1].get_xlabel() == "logits of positions m" and panels[2].get_ylabel() == "position n"


def test_logit_change_maps_of_a_model_that_depends_on_nothing() -> None:
    assert plots.logit_change_maps({"code": {"codes": torch.zeros(3, 3)}}).axes


def test_laws_are_sorted_by_what_was_before_and_counted() -> None:
    before = torch.tensor([0.1, 0.5, 0.2, 0.2])
    figure = plots.laws({"as is": before, "top": torch.tensor([0.0, 1.0, 0.0, 0.0])}, before, n_shown=3)
    first, second = figure.axes[:2]
    assert np.allclose([bar.get_height() for bar in first.patches], [0.5, 0.2, 0.2])
    assert np.allclose([bar.get_height() for bar in second.patches], [1.0, 0.0, 0.0])
    assert words(first) == ["4 choices\n1.8 bits"] and words(second) == ["1 choice\n0.0 bits"]
    assert not figure.axes[2].get_visible()


def test_loss_by_place_gives_each_panel_its_own_chance() -> None:
    losses = {"codes": [3.0, 2.0], "positions": [1.0, 0.5]}
    chance = {"codes: log K": 6.2, "positions: log L": 4.2, "positions: rising": [1.5, 1.0]}
    figure = plots.loss_by_place(losses, chance)
    labels = [[line.get_label() for line in axis.lines] for axis in figure.axes]
    assert labels == [["codes", "codes: log K"], ["positions", "positions: log L", "positions: rising"]]
    assert figure.axes[0].lines[1].get_ydata().tolist() == [6.2, 6.2]
    assert figure.axes[1].lines[2].get_ydata().tolist() == [1.5, 1.0]
