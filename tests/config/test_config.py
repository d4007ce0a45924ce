"""Settings: every fault at once, in words that help; presets that load; overrides that reach their place."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from mvqlab.config import (
    Config,
    ConfigError,
    config_from_dict,
    known_keys,
    load_config,
    merged,
    parse_override,
    preset_names,
    save_config,
)


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_complete_and_come_back_from_disk(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    assert config.preset == name
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_all_faults_are_listed_at_once_with_the_nearest_known_name() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(
            "shapes32", ["mask.mask_ration=0.5", "stage1.steps=0", "stage2.learnig_rate=1", "seeed=1"]
        )
    words = str(caught.value)
    assert "did you mean 'mask.mask_ratio'?" in words
    assert "did you mean 'stage2.learning_rate'?" in words
    assert "did you mean 'seed'?" in words
    assert "stage1.steps" in words and "(got 0)" in words


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'shapes32'"):
        load_config("shape32")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["mask.kind=none"], r"mask_ratio must be 0, not 0.5"),
        (["transformer.model=raster"], r"set mask.mask_ratio=0"),
        (["data.name=folder"], r"data.root must name the folder"),
        (["data.name=photos", "mask.kind=truth"], r"which data.name 'photos' has not"),
        (["data.resolution=30"], r"must be a multiple of 4"),
        (["transformer.heads=3"], r"heads \(3\) must divide transformer.width \(128\)"),
        (["mask.mask_ratio=1"], r"less than 1 \(got 1\)"),
        (["mask.mask_ratio=[0.9, 0.1]"], r"two of them, rising: \[low, high\] \(got \[0.9, 0.1\]\)"),
        (["mask.mask_ratio=[0.1]"], r"two of them, rising"),
        (["mask.mask_ratio=[0, 1]"], r"less than 1"),
        (["mask.mask_ratio=yes"], r"a number, or a range of numbers \[low, high\] \(got True\)"),
        (["mask.kind=none", "mask.mask_ratio=0", "mask.evaluation_ratio=0.5"], r"must be 0, not 0.5"),
        (["mask"], r"must read key=value"),
        (["preset.x=1"], r"preset is a single value"),
        (["data.name=photos", "data.scene=simple"], r"data.scene is .simple., but data.name is .photos."),
        (["data.root=images"], r"data.root is given, but data.name is 'shapes'"),
        (["data.name=fashion", "data.captions=a.csv"], r"data.captions is given, but data.name is 'fashion'"),
        (["data.name=torchvision"], r"data.set must name a class of torchvision.datasets"),
        (["data.name=fashion", "data.set=MNIST"], r"data.set is given, but data.name is 'fashion'"),
        (["data.name=torchvision", "data.set=MNIST", "mask.kind=truth"], r"which data.name 'MNIST' has not"),
        (["data.name=photos", "data.download=true"], r"data.download is given, but data.name is 'photos'"),
        (["backbone.attention_resolutions=[7]"], r"names \[7\], but feature maps have sides \[32, 16, 8\]"),
        (["backbone.kind=patch", "data.resolution=30"], r"multiple of 4, the side of a patch"),
        (["backbone.kind=patch", "backbone.patch_size=1"], r"patch_size: .*greater than or equal to 2"),
        (["backbone.kind=patch", "backbone.attention_resolutions=[16]"], r"feature maps have sides \[8\]"),
        (["backbone.kind=patch", "backbone.padding=mirror"], r"backbone.padding: .*'zeros' or 'replicate'"),
        (["backbone.kind=patches"], r"backbone.kind: .*'vqgan' or 'patch'"),
        (["backbone.channel_multipliers=[]"], r"at least 1 item"),
        (["loss.adversarial_weight=1", "discriminator.layers=4"], r"needs images of 48 pixels"),
        (["sampling.code_guidance=2"], r"guidance .*transformer.condition is none: set"),
        (
            [
                "sampling.position_guidance=2",
                "transformer.condition=class",
                "transformer.condition_dropout=0",
            ],
            r"transformer.condition_dropout is 0",
        ),
        (["stage1.betas=[0.9, 1.0]"], r"stage1.betas: .*less than 1"),
        (["stage1.learning_rate=.inf"], r"finite number"),
        (["seed=4294967296"], r"seed: .*less than 4294967296"),
        ([5], r"override '5' must read key=value"),
        (["demask.attention=false", "demask.mask_update=false"], r"demask\.attention=true"),
        (["demask.kind=none", "demask.renormalise=true"], r"demask\.kind=adaptive"),
    ],
)
def test_what_cannot_go_together_says_what_to_do(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config("shapes32", overrides)


def test_a_file_that_is_no_preset_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- 1")
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "twice.yaml").write_text("stage1: {steps: 5}\nstage1: {steps: 6}")
    (tmp_path / "list_as_key.yaml").write_text("? [a, b]\n: 1")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "folder.yaml").mkdir()
    for name, words in [
        ("list", "must hold sections"),
        ("broken", "not valid YAML"),
        ("absent", "no preset file"),
        ("twice", "'stage1' is given twice"),
        ("list_as_key", "a key must be a single value"),
        ("binary", "cannot be read"),
        ("folder", "cannot be read"),
    ]:
        with pytest.raises(ConfigError, match=words):
            load_config(tmp_path / f"{name}.yaml")


def test_overrides_reach_their_place_and_leave_the_rest() -> None:
    before, after = load_config("shapes32"), load_config("shapes32", {"backbone.channel_multipliers": [1, 2]})
    assert after.backbone.channel_multipliers == (1, 2) and after.grid_side == 2 * before.grid_side
    assert after.stage1 == before.stage1 and after.preset == "shapes32"


def test_every_known_key_can_be_set_to_what_it_is() -> None:
    config = load_config("shapes32")
    values = {}
    for key in known_keys():
        value = config
        for part in key.split("."):
            value = getattr(value, part)
        values[key] = value
    assert config_from_dict(config.model_dump()) == load_config("shapes32", values) == config


@given(st.floats(0, 0.99), st.integers(0, 2**31))
def test_an_override_is_read_as_the_number_it_shows(ratio: float, seed: int) -> None:
    config = load_config("shapes32", [f"mask.mask_ratio={ratio!r}", f"seed={seed}"])
    assert (config.mask.mask_ratio, config.seed) == (ratio, seed)


def test_a_range_of_ratios_is_kept_as_written(tmp_path: Path) -> None:
    config = load_config("shapes32", ["mask.mask_ratio=[0.0, 0.9]"])
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    assert config.mask.ratio_range == (0.0, 0.9) and config.mask.ratio_in_use == 0.45
    at_a_quarter = load_config("shapes32", ["mask.mask_ratio=[0.0, 0.9]", "mask.evaluation_ratio=0.25"])
    assert at_a_quarter.mask.ratio_in_use == 0.25


@pytest.mark.parametrize(
    ("text", "extractor"),
    [
        ("lab", "lab"),
        ("[judge, efficientnet]", ("judge", "efficientnet")),
        ("[lab]", "lab"),
        ("lab,lab", "lab"),
    ],
)
def test_an_extractor_is_one_name_or_several(
    text: str, extractor: str | tuple[str, ...], tmp_path: Path
) -> None:
    config = load_config("simple32", [f"evaluation.extractor={text}"])
    assert config.evaluation.extractor == extractor
    assert config.evaluation.extractors == ((extractor,) if isinstance(extractor, str) else extractor)
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_an_unknown_extractor_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.extractor: .*'judges'.*did you mean 'judge'"):
        load_config("simple32", ["evaluation.extractor=[lab, judges]"])


@pytest.mark.parametrize(
    "text", ["/x/set #2", "2024", "no", "010", "10:30", "1e3", "'a'", "{b}", "a: b", " c"]
)
def test_a_path_or_a_name_is_the_text_as_given(text: str) -> None:
    config = load_config("shapes32", ["data.name=torchvision", f"data.root={text}", f"data.set={text}"])
    assert (config.data.root, config.data.set) == (Path(text), text)
    assert load_config("shapes32", ["data.name=fashion", "data.root=null"]).data.root is None


def test_numbers_are_decimal() -> None:
    config = load_config("shapes32", ["seed=010", "stage1.learning_rate=1e-3", "stage1.betas=[0.5, 1e-1]"])
    assert (config.seed, config.stage1.learning_rate, config.stage1.betas) == (10, 0.001, (0.5, 0.1))
    for strange in (
        "stage1.steps=10:30",
        "stage1.learning_rate=1:30",
        "stage1.betas=[0:30, 010]",
        "seed=0x1F",
    ):
        with pytest.raises(ConfigError, match=strange.partition("=")[0]):
            load_config("shapes32", [strange])
    flips = [
        load_config("shapes32", [f"data.flip={word}"]).data.flip for word in ("no", "off", "yes", "True")
    ]
    assert flips == [False, False, True, True]


def test_a_preset_with_a_number_that_yaml_would_change_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    for number in ("seed: 010", "stage1: {steps: 10:30}"):
        path.write_text(number)
        with pytest.raises(ConfigError, match="would be read to the base of 8 or 60"):
            load_config(path)
    path.write_text(
        "seed: 10\nstage1: {steps: 0x1F, learning_rate: 1.5e-3}\ndata: {root: '010', name: fashion}"
    )
    config = load_config(path)
    assert (config.seed, config.stage1.steps, config.data.root) == (10, 31, Path("010"))


@pytest.mark.parametrize(
    "twice", [["seed=1", "seed=2"], ["seed=1", " seed =1"], ["stage1.steps=3", "stage1={steps: 4}"]]
)
def test_a_setting_given_twice_is_an_error(twice: list[str]) -> None:
    with pytest.raises(ConfigError, match="given twice"):
        load_config("shapes32", twice)
    assert load_config("shapes32", merged(["seed=1"], ["seed=2"], {"stage1.steps": 4})).seed == 2


def test_a_value_may_hold_an_equals_sign() -> None:
    assert parse_override("data.root=a=b") == ("data.root", "a=b")


def _counts(section: type[BaseModel] = Config, prefix: str = "") -> list[str]:
    """Dotted names of all settings that are whole numbers, alone or in a list, seeds left out."""
    names = []
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += _counts(field.annotation, f"{prefix}{name}.")
        elif "int" in str(field.annotation) and name != "seed":
            names.append(prefix + name)
    return names


@pytest.mark.parametrize("name", _counts())
def test_no_number_is_too_large_to_be_refused(name: str) -> None:
    """Before memory is asked for: every whole number has an upper bound."""
    is_list = name.endswith(("multipliers", "attention_resolutions", "levels"))
    with pytest.raises(ConfigError, match=f"{name}.* less than"):
        load_config("shapes32", [f"{name}={'[1000000000000]' if is_list else 10**12}"])


def test_numbers_of_the_largest_published_models_fit() -> None:
    for name, value in {
        "quantizer.codebook_size": 2**18,
        "transformer.width": 12_288,
        "data.train_size": 14_197_122,
        "stage1.batch_size": 4096,
        "evaluation.samples": 50_000,
    }.items():
        load_config("shapes32", [f"{name}={value}"])


def test_faults_are_data_where_what_and_what_to_do() -> None:
    overrides = ["mask.mask_ration=0.5", "stage1.steps=-1", "mask.budget=threshold", "mask.kind=random"]
    with pytest.raises(ConfigError) as caught:
        load_config("shapes32", overrides)
    found = {fault.where: fault for fault in caught.value.faults}
    assert {"mask.mask_ration", "stage1.steps"} <= set(found)
    assert found["mask.mask_ration"].advice == "did you mean 'mask.mask_ratio'?"
    assert "got -1" in found["stage1.steps"].what and not found["stage1.steps"].advice
    assert all(str(fault) in str(caught.value) for fault in caught.value.faults)


def test_a_section_that_disagrees_with_itself_says_what_to_set() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("shapes32", ["mask.budget=threshold", "mask.kind=random"])
    (fault,) = caught.value.faults
    assert fault.where == "mask" and "no learned scores" in fault.what
    assert fault.advice.startswith("set mask.kind=adaptive")


def test_words_alone_are_one_fault_and_errors_survive_another_process() -> None:
    plain = ConfigError("no such thing")
    assert [str(fault) for fault in plain.faults] == [str(plain)] == ["no such thing"]
    with pytest.raises(ConfigError) as caught:
        load_config("shapes32", ["stage1.steps=-1", "seed=x"])
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.faults == caught.value.faults and len(again.faults) == 2
    assert str(again) == str(caught.value)
