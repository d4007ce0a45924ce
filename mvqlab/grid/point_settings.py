"""What a point's notebook is given and what its settings come to, with all that is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mvqlab.config import (
    SHORT_NAMES,
    Config,
    ConfigError,
    annotation_of,
    load_config,
    merged,
    overrides_of,
)
from mvqlab.config.own_arms import arms_in_use
from mvqlab.config.typed_text import is_text
from mvqlab.grid.notebook import OUTPUT, OVERRIDES, RESUME, STAGE1, Notebook
from mvqlab.grid.shared import name_of_stage1
from mvqlab.grid.spec import Parameters, did_you_mean
from mvqlab.results import TOLD

SET_BY_GRID = {OUTPUT, RESUME, STAGE1}


class Checked(NamedTuple):
    given: Parameters  # to the notebook
    complete: Parameters  # with the notebook's defaults
    config: Parameters  # nested settings that the notebook starts from; empty where it takes none
    plain: Parameters  # the same, with those that are not written
    stage1: str  # as in `Point`
    arms: list[str | None]  # SHA-256 of the file of each arm of one's own
    faults: list[str]


def check_settings(settings: Parameters, notebook: Notebook) -> Checked:
    """The notebook's parameters that `settings` stand for, and all that is wrong with them."""
    faults = []
    given: Parameters = {}
    for name, value in settings.items():
        try:
            if "." not in name:
                given[name] = _fitted(name, value, notebook)
        except ValueError as error:
            faults.append(f"'{name}' {error}")
    listed = [one.partition("=")[0].strip() for one in given.get(OVERRIDES) or [] if isinstance(one, str)]
    faults += _faults_of_names(settings, listed, notebook)
    dotted = [as_override(name, value) for name, value in settings.items() if "." in name]
    takes_settings = OVERRIDES in notebook.parameters
    if dotted and takes_settings:
        given[OVERRIDES] = [*given.get(OVERRIDES, []), *dotted]
    elif dotted:
        faults.append(f"'{dotted[0]}' is a setting, but {notebook.path.name} takes no '{OVERRIDES}'")
    complete = {name: value for name, value in notebook.defaults.items() if name not in SET_BY_GRID} | given
    config: Parameters = {}
    plain: Parameters = {}
    stage1 = ""
    arms: list[str | None] = []
    try:
        if takes_settings:
            whole = _config(complete, notebook)
            config, plain = whole.model_dump(mode="json"), whole.plain()
            arms = [arm.sha256 for arm in arms_in_use(whole)]
            stage1 = name_of_stage1(whole) if STAGE1 in notebook.parameters else ""
    except ConfigError as error:
        faults += map(str, error.faults)
    return Checked(given, complete, config, plain, stage1, arms, faults)


def _faults_of_names(settings: Parameters, listed: Sequence[str], notebook: Notebook) -> list[str]:
    """Texts that YAML reads as something else, and settings that have another name or are `listed`, too."""
    faults = [
        f"'{name}' is read by YAML as the {type(value).__name__} {value}: put it in quotes"
        for name, value in settings.items()
        if is_text(annotation_of(name)) and "." in name and not isinstance(value, str | None)
    ]
    faults += [
        f"'{short}' is given twice, by itself and as {name} in '{OVERRIDES}'"
        for short, name in SHORT_NAMES.items()
        if short in settings and name in listed
    ]
    faults += [
        f"'{name}' is the notebook's parameter '{short}': give it by that name"
        for short, name in SHORT_NAMES.items()
        if name in settings and name != short and short in notebook.parameters
    ]
    return faults


def _fitted(name: str, value: Any, notebook: Notebook) -> Any:
    """`value` as the notebook's parameter `name` takes it. Raises ValueError."""
    if name in SET_BY_GRID:
        raise ValueError("is set by the grid itself: leave it out")
    if name in TOLD:
        raise ValueError("is a column that every table has: call the parameter something else")
    if name not in notebook.parameters:
        hint = did_you_mean(name, notebook.parameters)
        raise ValueError(f"is no parameter of {notebook.path.name}{hint}")
    _check_plain(value)
    fitted = notebook.parameters[name].fitted(value)
    _check_plain(fitted)  # `nan` is a word to YAML, and a number to who reads a float
    return fitted


def _check_plain(value: Any) -> None:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            _check_plain(inner)
    elif not isinstance(value, str | bool | int | float | None):
        raise ValueError(f"is read by YAML as a {type(value).__name__} ({value}): put it in quotes")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"is {value}, which no JSON file can hold: give a number, null, or words in quotes")


def _config(parameters: Parameters, notebook: Notebook) -> Config:
    """All settings that the notebook starts from, with its preset's own: a changed preset is a new point."""
    preset = parameters.get("preset") or "shapes32"
    if Path(preset).suffix in {".yaml", ".yml"}:
        preset = notebook.path.parent / preset
    return load_config(preset, merged(overrides_of(parameters), parameters.get(OVERRIDES) or []))


def as_override(name: str, value: Any) -> str:
    """``name=value``, which `mvqlab.config` reads back to the same value."""
    if isinstance(value, str) and is_text(annotation_of(name)):
        return f"{name}={value}"
    # YAML, not JSON: load_config reads the value back with YAML, which takes JSON's 1e-05 for a word
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return f"{name}={text.strip().removesuffix('...').strip()}"
