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


COMPARE = ["--compare", "mask_ratio", "0.5", "0.0", "--effect", "psnr=0.2"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read as a table"),
        (TABLE.encode("utf-16"), "not UTF-8"),
        (b'a,b\n1,"2\n3,4\n', "every quote closed"),
    ],
)
def test_a_file_that_is_no_table_is_told_in_one_line(
    content: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    assert main(["power", str(path), *COMPARE]) == 2
    said = capsys.readouterr().err
    assert words in said and str(path) in said and said.count("\n") == 1


def test_a_file_that_is_not_there_is_named_as_it_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["power", "nofile.csv", *COMPARE]) == 2
    assert capsys.readouterr().err.startswith("mvqlab: nofile.csv: No such file")


@pytest.mark.parametrize("label", ["a: b: {}", "a: {}", "[{}", "2026-02-3{}"])
def test_a_side_may_be_a_label_that_is_no_yaml(
    label: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "table.csv"
    sides = [label.format(8), label.format(9)]
    rows = [f"{seed},{side},{seed * n}" for seed in range(3) for n, side in enumerate(sides)]
    path.write_text("\n".join(["seed,variant,psnr", *rows, ""]))
    assert main(["power", str(path), "--compare", "variant", *sides, "--effect", "psnr=0.2"]) == 0
    assert "| psnr | 3 |" in capsys.readouterr().out


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
