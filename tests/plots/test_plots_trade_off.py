"""Figures of two qualities show every point, its interval, and which are beaten."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from mvqlab import plots
from mvqlab.plots.trade_off import _reach

TABLE = pd.DataFrame(
    {
        "speed": [1.0, 2.0, 1.5],
        "fid": [3.0, 4.0, 5.0],
        "fid_low": [2.5, 3.0, np.nan],
        "fid_high": [3.5, 6.0, np.nan],
        "mask": ["learned", "learned", "random"],
        "ratio": ["0 %", "50 %", "50 %"],
        "is_front": [True, True, False],
    }
)


def test_a_name_stands_once_where_two_points_meet() -> None:
    table = pd.DataFrame({"x": [5.0, 1.0, 9.0, 1.01, 8.0], "y": [5.0, 1.0, 9.0, 1.01, 4.0]})
    table = table.assign(group=list("abbcc"), name=["0 %", "50 %", "75 %", "50 %", "75 %"])
    (axis,) = plots.trade_off(table, "x", "y", "group", "name", "x", "y").axes
    names = [text.get_text() for text in axis.texts if text.get_visible()]
    assert names == ["0 %", "50 %", "75 %", "75 %"]


def test_trade_off_draws_names_and_hollows_points() -> None:
    axis = plots.trade_off(
        TABLE, "speed", "fid", "mask", "ratio", "per second", "FID", better="lower right"
    ).axes[0]
    assert [text.get_text() for text in axis.texts] == ["0 %", "50 %", "50 %", "better"]
    low, high = axis.get_ylim()
    assert low < 2.5 and high > 6.0, "the intervals are in sight"
    assert axis.get_xlim()[0] < 1.0 and axis.get_xlim()[1] > 2.0
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["learned", "random"]
    filled, _, _, hollow = _scatters(axis)  # a pair a group
    assert filled.get_offsets().tolist() == [[1.0, 3.0], [2.0, 4.0]]
    assert hollow.get_offsets().tolist() == [[1.5, 5.0]]
    assert tuple(hollow.get_facecolor()[0]) == to_rgba("white")
    assert tuple(hollow.get_edgecolor()[0]) != to_rgba("white") and not np.allclose(
        filled.get_facecolor()[0], 1.0
    )


def _scatters(axis: object) -> list:
    return [one for one in axis.collections if hasattr(one, "get_sizes") and len(one.get_sizes())]


def test_intervals_reach_to_their_ends_and_missing_ones_have_none() -> None:
    assert np.allclose(_reach(TABLE, "fid"), [[0.5, 1.0, 0.0], [0.5, 2.0, 0.0]])
    assert _reach(TABLE, "speed") is None


def test_without_a_front_every_point_is_filled() -> None:
    axis = plots.trade_off(TABLE.drop(columns="is_front"), "speed", "fid", "mask", "ratio", "s", "FID").axes[
        0
    ]
    assert sum(len(one.get_offsets()) for one in _scatters(axis)) == 3


def test_precision_recall_plane_holds_the_points() -> None:
    table = pd.DataFrame(
        {"recall": [0.5, 0.7], "precision": [0.9, 0.8], "model": ["a", "b"], "way": ["as set", "free"]}
    )
    axis = plots.precision_recall_plane(table).axes[0]
    assert axis.collections[0].get_offsets().tolist() == [[0.5, 0.9], [0.7, 0.8]]
    assert axis.get_xlim() == pytest.approx((0.44, 1.02)) and axis.get_ylim() == pytest.approx((0.74, 1.02))


def test_precision_recall_curves_go_from_cold_to_warm() -> None:
    """Whatever the order of the rows; real images, which have no temperature, are a point without a word."""
    table = pd.DataFrame(
        {
            "model": ["a", "a", "real", "a"],
            "temperature": [1.0, 0.5, float("nan"), 1.3],
            "recall": [0.6, 0.4, 0.9, 0.7],
            "precision": [0.8, 0.9, 0.95, 0.5],
        }
    )
    axis = plots.precision_recall_curves(table).axes[0]
    curve, point = axis.lines[:2]
    assert np.asarray(curve.get_xydata()).tolist() == [[0.4, 0.9], [0.6, 0.8], [0.7, 0.5]]
    assert np.asarray(point.get_xydata()).tolist() == [[0.9, 0.95]]
    assert [text.get_text() for text in axis.texts] == ["0.5", "1", "1.3"]


def test_rounds_have_a_dot_each_and_the_median_written() -> None:
    axis = plots.rounds({"fast": [1.0, 3.0, 1.2], "slow": [4.0, 5.0, 6.0]}, "seconds").axes[0]
    assert [text.get_text() for text in axis.texts] == ["1.2", "5"]
    assert [len(one.get_offsets()) for one in axis.collections] == [3, 3]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["fast", "slow"]
