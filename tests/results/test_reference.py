"""Reference tables: those of the repository, and a word where there are none."""

from __future__ import annotations

from pathlib import Path

from mvqlab.results.reference import FOLDER, reference_table


def test_a_table_of_the_repository_is_read() -> None:
    table = reference_table("order_summary")
    assert table is not None
    assert {"variant", "metric", "n", "mean", "low", "high"} <= set(table)
    assert set(table["variant"]) >= {"raster order", "score order", "position first"}


def test_every_table_that_lies_there_can_be_named() -> None:
    names = [path.stem for path in FOLDER.glob("*.csv")]
    assert names and all(reference_table(name) is not None for name in names)


def test_a_missing_table_is_none(tmp_path: Path) -> None:
    assert reference_table("order_summary", tmp_path) is None
    (tmp_path / "mine.csv").write_text("a,b\n1,2\n")
    mine = reference_table("mine", tmp_path)
    assert mine is not None and mine.to_dict("list") == {"a": [1], "b": [2]}
