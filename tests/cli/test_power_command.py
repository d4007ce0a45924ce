"""`mvqlab power` on a kept table, and what it says of a command line that is not right."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvqlab.cli.main import main

ROWS = [
    f"{seed},done,{ratio},{20 + seed - 2 * ratio + 0.1 * seed * ratio}"
    for seed in range(3)
    for ratio in (0, 0.5)
]
TABLE = "\n".join(["seed,status,mask_ratio,psnr", *ROWS, ""])


def test_it_prints_the_seeds_that_an_effect_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "table.csv"
    path.write_text(TABLE)
    assert main(["power", str(path), "--compare", "mask_ratio", "0.5", "0.0", "--effect", "psnr=0.2"]) == 0
    row = capsys.readouterr().out.splitlines()[2].strip("| ").split(" | ")
    assert row[:4] == ["psnr", "3", "0.05", "0.2"]  # differences of -1, -0.95, -0.9
    assert int(row[5]) == 3


@pytest.mark.parametrize(
    ("effect", "words"), [("psnr", "METRIC=SIZE"), ("psnr=0", "above 0"), ("rank=1", "no column rank")]
)
def test_a_wrong_effect_is_told(
    effect: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(TABLE)
    assert main(["power", str(path), "--compare", "mask_ratio", "0.5", "0.0", "--effect", effect]) == 2
    assert words in capsys.readouterr().err
