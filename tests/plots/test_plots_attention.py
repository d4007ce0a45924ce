"""Figures of attention: places are sorted as said, numbers are those of the table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from mvqlab import plots


def test_matrices_are_sorted_kept_first_and_show_their_row_sums() -> None:
    matrix = torch.arange(16.0).view(4, 4) / 100.0
    is_kept = torch.tensor([False, True, False, True])
    figure = plots.attention_matrices({"a": matrix, "b": matrix / 2.0}, is_kept)
    panels = [axis for axis in figure.axes if axis.images]
    order = [1, 3, 0, 2]
    assert np.allclose(panels[0].images[0].get_array(), matrix[order][:, order])
    assert panels[0].images[0].get_clim() == panels[1].images[0].get_clim()
    sums = [bar.get_width() for bar in panels[0].child_axes[0].patches]
    assert sums == pytest.approx(matrix.sum(dim=1)[order].tolist())


def test_trust_is_drawn_from_layer_one() -> None:
    axis = plots.trust_over_layers({"0.02": [0.02, 0.1414], "none": [0.02, 0.02]}, used=2).axes[0]
    curves = [line for line in axis.lines if len(line.get_xdata()) == 2]
    assert list(curves[0].get_xdata()) == [1, 2]
    assert list(curves[0].get_ydata()) == pytest.approx([0.02, 0.1414])
    assert [text.get_text() for text in axis.texts] == ["the model here: 2"]


def test_shares_stand_in_the_panel_of_their_query() -> None:
    rows = [
        {"layer": layer, "query": query, "weights": weights, "share": share}
        for layer, query, weights, share in (
            (1, "dropped", "softmax", 0.6),
            (1, "dropped", "times trust", 0.9),
            (1, "kept", "softmax", 0.3),
            (1, "kept", "times trust", 0.7),
        )
    ]
    first, second = plots.kept_shares(pd.DataFrame(rows), chance=0.5).axes
    assert [text.get_text() for text in first.texts] == ["0.60", "0.90"]
    assert [text.get_text() for text in second.texts] == ["0.30", "0.70"]
    assert (first.get_title(), second.get_title()) == ("dropped", "kept")
    assert first.lines[-1].get_ydata()[0] == 0.5
