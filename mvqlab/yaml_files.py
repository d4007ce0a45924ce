"""YAML of people: read strictly, faults said in one line."""

from __future__ import annotations

import pickle
import re
from collections.abc import Hashable
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

# YAML 1.1 takes 010 for 8 and 10:30 for 630
STRANGE_NUMBER = re.compile(r"[-+]?(0[0-9_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")


class YamlFileError(ValueError):
    """A YAML file is missing, cannot be read, or says a thing twice. The message names the file."""


def read_yaml(path: Path, what: str) -> Any:
    """The content of the YAML file at `path`. `what` names its kind in messages: "grid file", "preset file".

    Raises YamlFileError.
    """
    try:
        return pickle.loads(_parsed(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise YamlFileError(f"there is no {what} at {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise YamlFileError(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise YamlFileError(f"{path} is not valid YAML: {error}") from None


def parse_yaml(text: str) -> Any:
    """The value that `text` stands for, as `read_yaml` reads it. Raises YamlFileError."""
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise YamlFileError(getattr(error, "problem", None) or str(error)) from None


@lru_cache(maxsize=16)
def _parsed(text: str) -> bytes:
    """The content of YAML `text`, pickled: a grid of thousands of points parses its preset once.

    Not the content itself: what is kept must not change when a caller fills in its own.
    """
    return pickle.dumps(yaml.load(text, Loader=_StrictLoader))


# libyaml's parser where there is one: a tenth of the time, which a list of thousands of points needs
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(_Loader):
    """YAML that refuses keys of several parts, a key given twice, and numbers that it would change.

    Plain YAML keeps the last of two keys, and reads 010 to the base of 8, 10:30 to that of 60.
    """

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

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """A number as it is written."""
        if STRANGE_NUMBER.fullmatch(node.value):
            problem = (
                f"'{node.value}' would be read to the base of 8 or 60: write it in decimals, or in quotes"
            )
            raise yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)
        is_float = node.tag.endswith("float")
        return self.construct_yaml_float(node) if is_float else self.construct_yaml_int(node)


for _kind in ("int", "float"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _StrictLoader.construct_number)
