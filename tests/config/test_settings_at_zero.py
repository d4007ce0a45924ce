"""Settings of which 0 means "off", "none" or "only at the end", all of them at 0, in a run of both stages."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pandas as pd
import pytest
from tiny_runs import KINDS, tiny

from mvqlab.config import Config, ConfigError, Section, load_config
from mvqlab.data import build_splits
from mvqlab.evaluation import collect_held_out, evaluate_generation, evaluate_held_out, stage2_columns
from mvqlab.evaluation.images.reconstruction import pictures_of
from mvqlab.results.pictures import load_pictures
from mvqlab.sampling import sample_images
from mvqlab.training import train_stage1, train_stage2

SAYS_WHAT_0_IS = re.compile(r"^    (\w+): .*#.*\b0(?: is| leaves| takes|:)", re.MULTILINE)


def settings_with_a_meaning_of_0() -> list[str]:
    """The dotted names of all settings whose comment says what 0 is."""
    return [
        f"{name}.{leaf}"
        for name, field in Config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
        for ancestor in field.annotation.__mro__[: field.annotation.__mro__.index(Section)]
        for leaf in SAYS_WHAT_0_IS.findall(inspect.getsource(ancestor))
    ]


@pytest.mark.parametrize("kind", ["budgets", "classes", "raster"])
def test_a_run_of_both_stages_takes_0_wherever_it_means_something(kind: str, tmp_path: Path) -> None:
    told = settings_with_a_meaning_of_0()
    assert {"evaluation.samples", "stage2.checkpoint_every", "sampling.temperature"} <= set(told)
    at_zero = [name for name in told if kind == "classes" or "guidance" not in name]
    config = tiny(*KINDS[kind], "evaluation.lpips=none", *(f"{name}=0" for name in at_zero))
    splits = build_splits(config.data)
    stage1 = train_stage1(config, tmp_path / "stage1", splits=splits)
    model = train_stage2(config, stage1, tmp_path / "stage2", splits=splits)
    held_out = collect_held_out(stage1, splits, config)
    assert evaluate_held_out(held_out, stage1, config)["psnr"] > 0.0

    samples = sample_images(model, stage1, config)
    assert samples.images.shape == (0, 3, 16, 16)
    columns = stage2_columns(pd.read_csv(tmp_path / "stage2" / "curves.csv"), samples)
    assert columns["bits_per_image"] > 0.0 and not {"n_pairs_drawn", "samples_per_second"} & set(columns)
    pictures_of(held_out, samples.images).save(tmp_path)
    pictures = load_pictures(tmp_path)
    assert pictures is not None and pictures.samples.shape == (0, 16, 16, 3)


def test_no_column_says_how_good_nothing_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVQLAB_CACHE", str(tmp_path))
    config = tiny("evaluation.samples=0")
    nothing = build_splits(config.data).train[0]["image"][None][:0]
    assert evaluate_generation(nothing, build_splits(config.data), config, None) == {}


@pytest.mark.parametrize("override", ["evaluation.samples=1", "evaluation.images=1"])
def test_what_no_distance_can_be_measured_on_is_refused_before_the_training(override: str) -> None:
    with pytest.raises(ConfigError, match=override.partition("=")[0]):
        load_config("shapes32", [override])
