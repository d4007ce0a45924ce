"""Changes to settings by dotted names: ``mask.mask_ratio=0.75``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mvqlab.config.errors import ConfigError
from mvqlab.config.settings import Config
from mvqlab.config.typed_text import typed
from mvqlab.config.yaml_files import YamlFileError


def merged(*groups: Iterable[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Several groups of overrides as one, in which what a later group says goes before an earlier one."""
    return {key: value for group in groups for key, value in pairs_of(group)}


def pairs_of(overrides: Iterable[str] | Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Keys and values of `overrides`. Raises ConfigError where strings give one twice."""
    if isinstance(overrides, Mapping):
        return list(overrides.items())
    pairs = [parse_override(override) for override in overrides]
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            both = " and ".join(f"{key}={value}" for name, value in pairs if name == key)
            raise ConfigError(f"{key} is given twice, as {both}: say it once")
        if section := next((other for other in keys if key.startswith(f"{other}.")), None):
            raise ConfigError(f"{key} is given twice, by itself and inside {section}: say it once")
    return pairs


SHORT_NAMES = {  # a notebook's parameters, and the settings that they stand for
    "seed": "seed",
    "mask": "mask.kind",
    "mask_ratio": "mask.mask_ratio",
    "transformer": "transformer.model",
    "stage1_steps": "stage1.steps",
    "stage2_steps": "stage2.steps",
}


def overrides_of(parameters: Mapping[str, Any]) -> list[str]:
    """Overrides for a notebook's `parameters` that stand for settings; 0 steps leave the preset's."""
    chosen = {key: parameters[name] for name, key in SHORT_NAMES.items() if name in parameters}
    return [f"{key}={value}" for key, value in chosen.items() if not (key.endswith(".steps") and value == 0)]


def parse_override(override: str) -> tuple[str, Any]:
    """Split ``"mask.mask_ratio=0.5"`` into its key and its value, read as the type of the setting.

    Paths and names are the text as given, numbers decimal; lists and mappings are YAML, as in a preset.
    Raises ConfigError.
    """
    key, equals, value = override.partition("=") if isinstance(override, str) else ("", "", "")
    key = key.strip()
    if not equals or not key:
        raise ConfigError(f"override '{override}' must read key=value, for example mask.mask_ratio=0.5")
    try:
        return key, typed(value, annotation_of(key))
    except YamlFileError as error:
        raise ConfigError(f"override '{override}': the value is not valid YAML: {error}") from None


def annotation_of(key: str) -> Any:
    """The type of the setting with this dotted name; None where there is no such setting."""
    kind: Any = Config
    for name in key.split("."):
        fields = getattr(kind, "model_fields", {})
        kind = fields[name].annotation if name in fields else None
    return kind


def set_at(settings: dict[str, Any], key: str, value: Any) -> None:
    """Set the dotted `key` in nested plain `settings`. Raises ConfigError where no section is in between."""
    *sections, leaf = key.split(".")
    for section in sections:
        inside = settings.get(section) or {}
        if not isinstance(inside, dict):
            raise ConfigError(f"'{key}': {section} is a single value, it holds no settings of its own")
        settings[section] = dict(inside)
        settings = settings[section]
    settings[leaf] = value
