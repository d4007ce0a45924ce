"""From a preset and overrides to checked settings, and back to a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from mvqlab.config.errors import ConfigError, Fault, MisfitError
from mvqlab.config.nearest import advice_for
from mvqlab.config.overrides import pairs_of, set_at
from mvqlab.config.section import Section
from mvqlab.config.settings import Config
from mvqlab.config.yaml_files import YamlFileError, read_yaml

PRESET_FOLDER = Path(__file__).parent / "presets"


def preset_names() -> list[str]:
    """Names of the presets that come with mvqlab."""
    return sorted(path.stem for path in PRESET_FOLDER.glob("*.yaml"))


def load_config(preset: str | Path = "shapes32", overrides: Iterable[str] | Mapping[str, Any] = ()) -> Config:
    """Read a preset, apply overrides, check everything.

    `preset` is a preset's name or the path of a YAML file; `overrides` are ``"section.key=value"``
    strings (see `parse_override`; none twice) or a mapping from dotted keys to values.

    Raises ConfigError, listing every fault with the nearest known name.
    """
    settings = _read_preset(preset)
    for key, value in pairs_of(overrides):
        set_at(settings, key, value)
    return config_from_dict(settings)


def config_from_dict(settings: Mapping[str, Any]) -> Config:
    """Check nested plain settings and freeze them. Raises ConfigError."""
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(*map(_fault_of, error.errors())) from None


def save_config(config: Config, path: Path) -> None:
    """Write `config` as YAML that `load_config` reads back to an equal one."""
    path.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


def _read_preset(preset: str | Path) -> dict[str, Any]:
    path = Path(preset)
    if path.suffix not in {".yaml", ".yml"}:
        path = PRESET_FOLDER / f"{preset}.yaml"
        if not path.exists():
            nearest = Fault("", f"no preset named '{preset}'", advice_for(str(preset), preset_names()))
            raise ConfigError(f"{nearest}; known: {', '.join(preset_names())}")
    try:
        settings = read_yaml(path, "preset file")
    except YamlFileError as error:
        raise ConfigError(str(error)) from None
    return {"preset": path.stem, **settings}


def known_keys() -> list[str]:
    """Every dotted key that an override may set."""
    keys = []
    for name, field in Config.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            keys += [f"{name}.{leaf}" for leaf in section.model_fields]
        else:
            keys.append(name)
    return keys


def _fault_of(found: Mapping[str, Any]) -> Fault:
    """What pydantic found, in this tree's own words where it has some."""
    where = ".".join(str(part) for part in found["loc"] if not isinstance(part, int))
    if found["type"] == "extra_forbidden":
        return Fault(where, "unknown setting", advice_for(where, known_keys()))
    raised = found.get("ctx", {}).get("error")
    if isinstance(raised, MisfitError):
        return Fault(where, raised.what, raised.advice)
    what = found["msg"] if raised is None else str(raised)
    if not isinstance(found.get("input"), dict | BaseModel):
        what = f"{what} (got {found['input']!r})"
    return Fault(where, what)
