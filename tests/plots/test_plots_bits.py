"""The over-fitting figure shows each run, set and part once, in its own unit."""

from __future__ import annotations

import pandas as pd

from mvqlab import plots


def run(sets: list[str], n: int) -> pd.DataFrame:
    rows = [
        {"set": of_set, "step": step, "code_bits_per_image": n * step, "position_bits_per_image": 1.0 * n,
         "bits_per_image": n * step + n}
        for of_set in sets for step in (1, 2, 3)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_parts_have_panels_runs_have_markers_and_sets_have_dashes() -> None:
    runs = {
        "Stackformer": run(["held-out", "training"], 2),
        "raster": run(["held-out", "training batches"], 5),
    }
    figure = plots.overfitting(runs, "title")
    assert [axis.get_title() for axis in figure.axes] == ["codes: what", "positions: where", "both"]
    for axis, expected in zip(figure.axes, ([2, 4, 6], [2, 2, 2], [4, 6, 8]), strict=True):
        assert len(axis.lines) == 4
        assert list(axis.lines[0].get_ydata()) == list(axis.lines[1].get_ydata()) == expected
        assert [line.get_linestyle() for line in axis.lines] == ["-", "--", "-", ":"]
        assert axis.lines[0].get_marker() == axis.lines[1].get_marker() != axis.lines[2].get_marker()
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["Stackformer", "raster", "held-out", "training", "training batches"]
