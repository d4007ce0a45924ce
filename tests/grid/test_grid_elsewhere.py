"""What a table says is done, of a grid that runs on several machines, does not run again."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from grid_files import attempts, read_points, write_grid

from mvqlab.cli import main as cli
from mvqlab.grid.elsewhere import done_in, not_done_in
from mvqlab.grid.runner import run_grid
from mvqlab.grid.spec import GridError
from mvqlab.grid.status import state_of


def write_table(path: Path, **columns: list[str]) -> Path:
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def test_points_are_known_by_their_identity_and_only_done_ones_count(tmp_path: Path) -> None:
    _, points = read_points(tmp_path, seeds=[0, 1, 2])
    ids = [point.id for point in points]
    first = write_table(tmp_path / "first.csv", point=[ids[0], ids[1]], status=["done", "failed"])
    second = write_table(tmp_path / "second.csv", point=["0123456789", ids[2]], status=["done", "done"])
    told: list[str] = []
    assert not_done_in([first, second], points, told.append) == [points[1]]
    assert told == [f"1 of these points are done in {first}", f"1 of these points are done in {second}"]
    assert not_done_in([], points, told.append) == points


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"point,status\n\xff\xfe,done\n"])
def test_what_is_no_table_of_points_is_refused_before_anything_runs(content: bytes, tmp_path: Path) -> None:
    path = write_grid(tmp_path, seeds=[0])
    table = tmp_path / "table.csv"
    table.write_bytes(content)
    with pytest.raises(GridError, match=r"table\.csv"):
        run_grid(path, done_in=[table], stream=io.StringIO())
    with pytest.raises(GridError, match=r"absent\.csv"):
        done_in(tmp_path / "absent.csv")
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_a_grid_runs_what_the_table_of_another_machine_lacks(tmp_path: Path, capsys) -> None:
    grid, points = read_points(tmp_path, base={"steps": 1}, seeds=[0, 1])
    here, there = (point.folder(grid.results) for point in points)
    table = write_table(tmp_path / "table.csv", point=[points[1].id], status=["done"])
    assert cli.main(["grid", "run", str(grid.path), "--done-in", str(table)]) == 0
    assert "1 of 1 points done" in capsys.readouterr().out
    assert state_of(here) == "done" and not there.exists()
    assert cli.main(["grid", "run", str(grid.path)]) == 0  # without the table it runs here, too
    assert len(attempts(here)) == len(attempts(there)) == 1
