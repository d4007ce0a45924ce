"""The drawn street names every station, gives every lesson on the method a house, and contradicts nowhere."""

from __future__ import annotations

from mvqlab import plots
from mvqlab.plots.method.street import STATIONS, STEPS


def test_every_station_step_and_house_is_on_the_street() -> None:
    (axis,) = plots.street().axes
    words = [text.get_text() for text in axis.texts]
    assert [words.count(name) for name in STATIONS] == [1] * len(STATIONS)
    assert [words.count(step.name) for step in STEPS] == [1] * len(STEPS)
    plates = [text.get_text() for text in axis.texts if text.get_bbox_patch() is not None]
    assert sorted(plates) == [str(number) for number in range(1, 9)]


def test_the_pairs_below_are_the_codes_above() -> None:
    (axis,) = plots.street().axes
    pairs = [text.get_text() for text in axis.texts if text.get_text().startswith("code ")]
    codes = [pair.split()[1] for pair in pairs if "?" not in pair]
    in_the_grid = [
        text.get_text() for text in axis.texts if len(text.get_text()) == 2 and "." not in text.get_text()
    ]
    assert codes == in_the_grid[: len(codes)] and len(codes) == 4
    places = [int(pair.split()[3]) for pair in pairs if "?" not in pair]
    assert places == sorted(places)
