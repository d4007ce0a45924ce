"""YAML: read alike everywhere, within limits, and strictly; what is wrong is said in one line."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
import yaml

from mvqlab.config import ConfigError, load_config
from mvqlab.config.yaml_files import YamlFileError, parse_yaml, read_yaml
from mvqlab.grid.spec import GridError, read_grid
from mvqlab.zoo import shipped

NEXT = list(zip("abcdefgh", "bcdefghi", strict=True))  # each name with the one before it
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
BOMB += "".join(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in NEXT)
MERGES = "a: &a {x: 1, y: 2}\n"
MERGES += "".join(f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 10)}]}}\n" for before, name in NEXT)
HOSTILE = {
    "aliases of aliases": (BOMB, "aliases repeat more than"),
    "merges of merges": (MERGES, "aliases repeat more than"),
    "an anchor in itself": ("data: &a [*a]\n", r"'\*a' stands inside of what it repeats"),
    "an anchor deep in itself": ("data: &a\n  b: {c: [1, *a]}\n", r"'\*a' stands inside of what it repeats"),
    "deep lists": ("data: " + "[" * 100_000, "depth|deep"),
    "deep mappings": ("data: " + "{a: " * 5000 + "1" + "}" * 5000, "more than 64 deep"),
    "deep dashes": ("- " * 5000 + "1", "more than 64 deep"),
    "a key twice": ("seed: 1\nseed: 2\n", "'seed' is given twice"),
    "a key twice below": ("data:\n  seed: 1\n  seed: 2\n", "'seed' is given twice"),
    "a key twice in other words": ("data: {true: 1, yes: 2}\n", "'yes' is given twice"),
    "a list": ("- 1\n- 2\n", "found a list"),
    "a word": ("quickstart\n", "found a str"),
    "nothing": ("# all is as it was\n", "found nothing"),
    "a number for a name": ("1: 2\n", "the name 1 is no word"),
    "two documents": ("seed: 1\n---\nseed: 2\n", "single document"),
    "an unknown anchor": ("seed: *nobody\n", "undefined alias"),
    "a number of 5000 digits": (f"seed: {'9' * 5000}\n", r"'9+ \.\.\.' cannot be read as int"),
    "a day that is none": ("seed: 2024-13-01\n", "'2024-13-01' cannot be read as timestamp"),
    "a float of nothing": ("seed: !!float ''\n", "cannot be read as float"),
    "a program": ("seed: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
    "a list for a key": ("[1, 2]: 3\n", "a key must be a single value"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_wrong_is_said_in_one_line_by_every_reader(tmp_path: Path, name: str) -> None:
    """Guards against values without end (60 s, 2 GB), tracebacks, and a key that hides an earlier one."""
    text, complaint = HOSTILE[name]
    path = tmp_path / "hostile.yaml"
    path.write_text(text)
    for read, error in ((load_config, ConfigError), (read_grid, GridError), (_as_plan, YamlFileError)):
        with pytest.raises(error, match=complaint) as caught:
            read(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400


def _as_plan(path: Path) -> object:
    return read_yaml(path, "plan")


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(BOMB)
    tracemalloc.start()
    try:
        with pytest.raises(YamlFileError):
            read_yaml(path, "preset file")
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()


def test_a_setting_on_the_command_line_has_the_same_limits() -> None:
    for value in ("&a [*a]", "[" * 5000, BOMB):
        with pytest.raises(ConfigError) as caught:
            load_config(overrides=[f"data.mixture={value}"])
        assert "data.mixture" in str(caught.value)


def test_a_file_without_end_is_not_read_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "movie.yaml"
    with path.open("wb") as file:
        file.truncate(50 * 2**30)  # a sparse file: it takes no room
    with pytest.raises(YamlFileError, match=r"movie\.yaml has more than 16 MB"):
        read_yaml(path, "grid file")


def test_honest_anchors_merges_and_depths_stay_allowed(tmp_path: Path) -> None:
    text = """
    common: &common {seed: 1, steps: 20}
    points: [{<<: *common, seed: 2}, *common, *common]
    deep: [[[[[[[[1]]]]]]]]
    one: &one 1
    ones: [*one, *one]
    """
    path = tmp_path / "honest.yaml"
    path.write_text(text)
    assert read_yaml(path, "grid file") == yaml.safe_load(text)
    many = "[" + ", ".join(f"{{a: {n}, b: {n}}}" for n in range(3000)) + "]"
    assert len(parse_yaml(many)) == 3000


def test_a_card_is_read_by_the_same_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / shipped.CARD).write_text("stage: &a [*a]\n")
    with pytest.raises(YamlFileError, match=r"card\.yaml"):
        shipped.shipped_card("odd")
