"""The page of verdicts: a row a hypothesis that was run, to the right what is as claimed."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.axes import Axes

from mvqlab.plots.verdicts import FARTHEST, LOOKS, verdict_chart
from mvqlab.results.protocol import FAILS, HOLDS, OPEN


def row(says: str, mean: float, verdict: str, **other: object) -> dict[str, object]:
    given = {"part_of": 1, "says": says, "direction": "higher", "effect": 0.5, "n": 6}
    return given | {"mean": mean, "low": mean - 0.5, "high": mean + 0.5, "verdict": verdict} | other


FOUND = pd.DataFrame(
    [
        row("more", 1.0, HOLDS),
        row("not run", float("nan"), OPEN, n=0),
        row("fewer", -1.0, HOLDS, direction="lower", part_of=2),
        row("far", -50.0, FAILS, part_of=2),
        row("one seed", 0.25, OPEN, n=1, low=float("nan"), high=float("nan"), part_of=2),
    ]
)


def marks(axis: Axes) -> dict[str, tuple[float, str]]:
    """Where each row's mark stands along the axis, and its marker, by the row's words."""
    words = dict(zip(axis.get_yticks(), (label.get_text() for label in axis.get_yticklabels()), strict=True))
    return {
        words[line.get_ydata()[0]]: (float(line.get_xdata()[0]), line.get_marker())
        for line in axis.lines
        if len(line.get_xdata()) == 1
    }


def test_rows_lie_to_the_right_where_they_are_as_claimed() -> None:
    (axis,) = verdict_chart(FOUND, {1: "first"}).axes
    found = marks(axis)
    assert found["more"] == (2.0, LOOKS[HOLDS][1]) and found["fewer"] == (2.0, LOOKS[HOLDS][1])
    assert found["far"] == (-FARTHEST, LOOKS[FAILS][1])
    assert found["one seed"] == (0.5, LOOKS[OPEN][1])
    assert "not run" not in found


@pytest.mark.parametrize(("data", "words"), [("garments", "garments: more"), ("", "more"), (None, "more")])
def test_data_are_named_where_there_are_several(data: str | None, words: str) -> None:
    (axis,) = verdict_chart(FOUND[:1].assign(data=data), {}).axes
    assert list(marks(axis)) == [words]


def test_intervals_are_those_of_the_table_and_end_at_the_edge() -> None:
    (axis,) = verdict_chart(FOUND, {}).axes
    bars = sorted(
        tuple(line.get_xdata()) for line in axis.lines if line.get_ydata()[0] == line.get_ydata()[-1] >= 1
    )
    bars = [bar for bar in bars if len(bar) == 2]
    assert bars == [(-FARTHEST, -FARTHEST), (1.0, 3.0), (1.0, 3.0)]


def test_an_interval_that_goes_further_has_an_arrow() -> None:
    def arrows(high: float) -> int:
        row = FOUND[FOUND["n"] > 1][:1].assign(mean=2.0, low=1.0, high=high, effect=1.0, direction="higher")
        (axis,) = verdict_chart(row, {}).axes
        return sum(getattr(text, "arrow_patch", None) is not None for text in axis.texts)

    assert (arrows(FARTHEST), arrows(FARTHEST + 1.0)) == (0, 1)


def test_claims_have_their_names() -> None:
    (axis,) = verdict_chart(FOUND, {1: "first", 2: "second"}).axes
    assert {"1. first", "2. second"} <= {text.get_text() for text in axis.texts}


def test_without_a_run_there_is_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        verdict_chart(FOUND[FOUND["n"] == 0], {})
