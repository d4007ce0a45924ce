"""YAML files of people: read strictly, faults said in one line."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml


class YamlFileError(ValueError):
    """A YAML file is missing, cannot be read, or says a thing twice. The message names the file."""


def read_yaml(path: Path, what: str) -> Any:
    """The content of the YAML file at `path`. `what` names its kind in messages: "grid file", "preset file".

    Raises YamlFileError.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except FileNotFoundError:
        raise YamlFileError(f"there is no {what} at {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise YamlFileError(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise YamlFileError(f"{path} is not valid YAML: {error}") from None


class _StrictLoader(yaml.SafeLoader):
    """YAML that refuses keys of several parts, and a key given twice, where plain YAML keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            problem = ""
            if not isinstance(key, yaml.ScalarNode):
                problem = "a key must be a single value"
            elif key.value in seen:
                problem = f"'{key.value}' is given twice"
            if problem:
                raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)
