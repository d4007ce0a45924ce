"""The recipes of CONTRIBUTING.md, as the patches beside this file: they fit, and what they add works.

A patch that fits no longer is to be made anew: apply it by hand, then `git diff -U1`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
RECIPES = ("metric_column", "data_set")

TRY = """
import json, sys
from mvqlab.data import build_splits
from mvqlab.data.catalogue import lines
from mvqlab.evaluation.run_report import evaluate_stage1
from mvqlab.results.columns import heading
from mvqlab.training import train_stage1
from tiny_runs import tiny

config = tiny(*sys.argv[2:])
splits = build_splits(config.data)
stage1 = train_stage1(config, sys.argv[1] + "/1", splits=splits)
print(json.dumps({
    "row": evaluate_stage1(stage1, splits, config),
    "heading": heading("brightness_shift"),
    "classes": splits.class_names,
    "catalogue": [line.split()[0] for line in lines()],
}))
"""
SETTINGS = ["data.name=gratings", "evaluation.lpips=none"]


@pytest.fixture(scope="module")
def patched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the library to which both recipes were applied, one after the other."""
    folder = tmp_path_factory.mktemp("patched")
    leave_out = shutil.ignore_patterns("checkpoints", "__pycache__")
    shutil.copytree(ROOT / "mvqlab", folder / "mvqlab", ignore=leave_out)
    alone = {**os.environ, "GIT_CEILING_DIRECTORIES": str(folder.parent)}  # in no repository
    for name in RECIPES:
        patch = str(HERE / f"{name}.patch")
        ran = subprocess.run(
            ["git", "apply", patch], cwd=folder, env=alone, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, f"{name}.patch fits no longer: {ran.stderr}"
    return folder


@pytest.fixture(scope="module")
def found(patched: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping:
    """What a run with everything that the recipes add has to say."""
    paths = os.pathsep.join([str(patched), str(ROOT / "tests")])
    ran = subprocess.run(
        [sys.executable, "-c", TRY, str(tmp_path_factory.mktemp("runs")), *SETTINGS],
        cwd=patched,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_metric_column_is_added(found: Mapping) -> None:
    assert -1.0 <= found["row"]["brightness_shift"] <= 1.0
    assert found["heading"] == "brightness_shift, of [0, 1]"


@pytest.mark.slow
def test_a_data_set_is_added(found: Mapping) -> None:
    assert found["classes"] == ["level", "rising", "upright", "falling"]
    assert "gratings" in found["catalogue"]


@pytest.mark.parametrize("name", RECIPES)
def test_the_page_names_every_file_that_a_recipe_touches(name: str) -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = next(paragraph for paragraph in page.split("\n\n") if f"`{name}.patch`" in paragraph)
    touched = set(re.findall(r"(?m)^\+\+\+ b/(\S+)", (HERE / f"{name}.patch").read_text(encoding="utf-8")))
    assert touched and touched == set(re.findall(r"`(mvqlab/[\w/]+\.py)`", section))
