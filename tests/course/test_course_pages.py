"""The tables of the course, on its page and in notebook 0, say what the lessons themselves say."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
LESSONS = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
ROW = re.compile(r"^\| (\d+) \| \[[^\]]+\]\((\S+\.ipynb)\) \| [^|]+ \| (\d+) \|", re.MULTILINE)


def words_of(path: Path) -> str:
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


@pytest.mark.parametrize("page", ["README.md", "00_start_here.ipynb"])
def test_the_table_lists_every_lesson_with_the_minutes_it_states(page: str) -> None:
    stated = {}
    for path in LESSONS:
        minutes = re.search(r"\*\*Time:\*\* (\d+) minutes", words_of(path))
        assert minutes is not None, f"{path.name} does not say its minutes"
        stated[path.name] = (int(path.stem.split("_")[0]), int(minutes[1]))
    listed = {
        file: (int(number), int(minutes)) for number, file, minutes in ROW.findall(words_of(NOTEBOOKS / page))
    }
    assert listed == stated


@pytest.mark.parametrize("page", ["README.md", "LECTURER.md", "00_start_here.ipynb"])
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)\s]+)\)", words_of(NOTEBOOKS / page))
    assert [link for link in links if not (NOTEBOOKS / link).exists()] == []
