"""Two judges against each other: a mark a run, real images by letters, what lies too far away in words."""

from __future__ import annotations

import pandas as pd

from mvqlab import plots


def test_runs_are_marks_and_near_yardsticks_have_letters() -> None:
    drawn = pd.DataFrame(
        {"variant": ["a", "a", "b"], "fid_judge": [5.0, 6.0, 9.0], "fid_efficientnet": [90.0, 80.0, 99.0]}
    )
    real = [
        ("a", "real", 0.3, 8.0),
        ("b", "real", 0.3, 8.0),
        ("a", "after stage 1", 2.0, 60.0),
        ("b", "after stage 1", 3.0, 70.0),
        ("a", "greyed", 60.0, 40.0),
    ]
    yardsticks = pd.DataFrame(real, columns=["variant", "yardstick", "fid_judge", "fid_efficientnet"])
    (axis,) = plots.two_judges(pd.concat([drawn, yardsticks], ignore_index=True)).axes
    assert sum(len(one.get_offsets()) for one in axis.collections) == len(drawn)
    (crosses,) = (line for line in axis.lines if line.get_marker() == "x")
    assert crosses.get_xydata().tolist() == [[0.3, 8.0], [2.0, 60.0], [3.0, 70.0]]
    *letters, corner = [text.get_text() for text in axis.texts]
    assert letters == ["a", "b", "c"]
    names = ["a   real", "b   after stage 1, a", "c   after stage 1, b", "farther away: greyed"]
    assert corner.splitlines() == names
