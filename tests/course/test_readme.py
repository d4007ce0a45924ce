"""The README tells the truth: its code runs, its files and commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image
from tiny_runs import TINY

import mvqlab.config
from mvqlab.cli.main import build_parser

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_ten_lines_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As printed, but for sizes, and the length of the training."""
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    full = mvqlab.config.loading.load_config
    monkeypatch.setattr(
        mvqlab.config,
        "load_config",
        lambda preset, overrides: full(preset, mvqlab.config.overrides.merged(overrides, TINY)),
    )
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code, names)
    assert names["samples"].images.shape == (10, 3, 16, 16)
    assert names["pairs"].codes.shape == (1, 8)
    with Image.open(tmp_path / "results" / "mine" / "samples.png") as picture:
        assert picture.width >= 512


def test_every_file_it_names_is_there() -> None:
    named = re.findall(r"`((?:notebooks|mvqlab|results|ablations)/[\w/.]*)`|\]\((results/[^)]+)\)", README)
    paths = {first or second for first, second in named}
    assert len(paths) >= 5
    for path in paths:
        assert (ROOT / path).exists(), path


def test_every_command_it_names_is_one() -> None:
    commands = set(re.findall(r"`mvqlab ([a-z-]+)", README))
    assert {"grid", "train", "bench", "doctor"} <= commands
    known = build_parser().format_help()
    for command in commands:
        assert re.search(rf"^\s+{command}\s", known, re.MULTILINE), command
    targets = set(re.findall(r"make ([a-z]+) ", README))
    makefile = (ROOT / "Makefile").read_text()
    for target in targets & {"demo", "test", "bench"}:
        assert f"\n{target}:" in makefile
