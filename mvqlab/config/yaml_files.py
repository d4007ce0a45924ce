"""YAML of people: read strictly and within limits, faults said in one line.

All YAML that mvqlab reads comes through here. A short file may stand for a value without end: an alias
repeats what it names, aliases of aliases multiply, and one inside of its own anchor never ends. So the
parser's events are counted before anything is built.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Hashable
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import yaml

MOST_BYTES = 16 * 2**20  # of a file; a grid that lists ten thousand points has some 2 MB
MOST_REPEATED = 100_000  # values that aliases may add
DEEPEST = 64  # levels of lists and mappings inside each other; mvqlab's own files have six at most
SAYS_THE_VALUE = 40  # characters of a faulty value that a message repeats

# YAML 1.1 takes 010 for 8 and 10:30 for 630
STRANGE_NUMBER = re.compile(r"[-+]?(0[0-9_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)")


class YamlFileError(ValueError):
    """A YAML file is missing, cannot be read, is too much, or says a thing twice. The message names it."""


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """The names and values in the YAML file at `path`.

    `what` names its kind in messages: "grid file", "preset file". Raises YamlFileError.
    """
    content = _read(path, what)
    if not isinstance(content, dict):
        found = "nothing" if content is None else f"a {type(content).__name__}"
        raise YamlFileError(f"{path} must hold sections or names with values ('seed: 0'), found {found}")
    for key in content:
        if not isinstance(key, str):
            raise YamlFileError(f"{path}: the name {key!r} is no word: write names like 'seed: 0'")
    return content


def _read(path: Path, what: str) -> Any:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise YamlFileError(
                f"{path} has more than {MOST_BYTES // 2**20} MB, too much for a {what}: is it another file?"
            )
        return pickle.loads(_parsed(content.decode("utf-8")))
    except FileNotFoundError:
        raise YamlFileError(f"there is no {what} at {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise YamlFileError(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise YamlFileError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def parse_yaml(text: str) -> Any:
    """The value that `text` stands for, as `read_yaml` reads it. Raises YamlFileError."""
    try:
        return _build(text)
    except yaml.YAMLError as error:
        raise YamlFileError(getattr(error, "problem", None) or str(error)) from None


@lru_cache(maxsize=32)
def _parsed(text: str) -> bytes:
    """The content of YAML `text`, pickled: a grid of thousands of points parses its preset once.

    Not the content itself: what is kept must not change when a caller fills in its own.
    """
    return pickle.dumps(_build(text))


def _build(text: str) -> Any:
    """The value of YAML `text`. Raises yaml.YAMLError."""
    _check_limits(text)
    return yaml.load(text, Loader=_StrictLoader)


def _check_limits(text: str) -> None:
    """Raise yaml.YAMLError where `text` nests or repeats without measure, before anything is built of it."""
    anchored: dict[str, int] = {}  # how many values each anchor stands for, aliases in it counted in full
    open_nodes: list[tuple[str | None, int]] = []  # anchor of each list or mapping begun, values before it
    n_values = n_repeated = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_nodes):
                _refuse(event, f"'*{event.anchor}' stands inside of what it repeats, which would never end")
            # one without an anchor is for the loader to refuse
            repeated = anchored.get(event.anchor, 1)
            n_values, n_repeated = n_values + repeated, n_repeated + repeated
            if n_repeated > MOST_REPEATED:
                _refuse(event, f"aliases repeat more than {MOST_REPEATED} values: write out what is meant")
        elif isinstance(event, yaml.CollectionStartEvent):
            n_values += 1
            open_nodes.append((event.anchor, n_values - 1))
            if len(open_nodes) > DEEPEST:
                _refuse(event, f"lists and mappings lie more than {DEEPEST} deep inside each other")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            anchored[anchor or ""] = n_values - before
        elif isinstance(event, yaml.ScalarEvent):
            n_values += 1
            anchored[event.anchor or ""] = 1


def _refuse(at: yaml.Event | yaml.Node, problem: str) -> NoReturn:
    raise yaml.constructor.ConstructorError(problem=problem, problem_mark=at.start_mark)


# libyaml's parser where there is one: a tenth of the time, which a list of thousands of points needs
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(_Loader):
    """YAML that refuses keys of several parts, a key given twice, and numbers that it would change.

    Plain YAML keeps the last of two keys, and reads 010 to the base of 8, 10:30 to that of 60.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        # what int(), float(), date() and base64 say to a number of 5000 digits, to 2024-13-01, to !!float ''
        except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
            value = str(node.value)
            shown = value if len(value) <= SAYS_THE_VALUE else f"{value[:SAYS_THE_VALUE]} ..."
            words = " ".join(str(error).split())
            _refuse(node, f"'{shown}' cannot be read as {node.tag.rpartition(':')[2]} ({words})")

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                _refuse(key, "a key must be a single value")
            # by what is written and by what it means: yes and true are one key
            means = key.value if key.tag.endswith((":merge", ":value")) else self.construct_object(key)
            if not seen.isdisjoint((key.value, means)):
                _refuse(key, f"'{key.value}' is given twice")
            seen |= {key.value, means}
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """A number as it is written."""
        if STRANGE_NUMBER.fullmatch(node.value):
            _refuse(
                node,
                f"'{node.value}' would be read to the base of 8 or 60: write it in decimals, or in quotes",
            )
        is_float = node.tag.endswith("float")
        return self.construct_yaml_float(node) if is_float else self.construct_yaml_int(node)


for _kind in ("int", "float"):
    _StrictLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _StrictLoader.construct_number)
