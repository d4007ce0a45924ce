"""A setting's value from its text on a command line, read as the type of its field.

YAML alone would change words: ``/x/set #2`` loses its end, ``2024`` is no path and ``no`` no name, ``010`` is
8 and ``10:30`` is 630.
"""

from __future__ import annotations

from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from mvqlab.config.yaml_files import parse_yaml

TEXT = {Path, str}
PLAIN = {bool, int, float, NoneType}
NOTHING = ("", "null")  # what unsets a setting that may be unset


def typed(text: str, annotation: Any) -> Any:
    """`text` as a value for a field of type `annotation`; None where no field is known.

    A path or name is the text as it stands. Where a number or a truth value cannot be read, the text comes
    back, and the field refuses it. Lists and mappings are YAML; YamlFileError is raised where they are not.
    """
    kinds = kinds_of(annotation)
    word = text.strip()
    if NoneType in kinds and word in NOTHING:
        return None
    if is_text(annotation):
        return text
    if not kinds or not kinds <= PLAIN:
        return parse_yaml(text)
    numbers = (_number(word, kind) for kind in (int, float) if kind in kinds)
    return next((number for number in numbers if number is not None), word)


def is_text(annotation: Any) -> bool:
    """Whether a field of type `annotation` holds a path, a name or one of some words."""
    return bool(kinds_of(annotation) & TEXT)


def kinds_of(annotation: Any) -> set[type]:
    """The plain types that a value of the type `annotation` may have: float and tuple of a ratio or range."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return kinds_of(parts[0])
    if origin in (Union, UnionType):
        return set().union(*map(kinds_of, parts))
    if origin is Literal:
        return {type(value) for value in parts}
    plain = origin or annotation
    return {plain} if isinstance(plain, type) else set()


def _number(word: str, kind: type) -> int | float | None:
    # YAML writes .inf and .nan, which Python writes without the dot
    if kind is float and word.lower().lstrip("+-") in (".inf", ".nan"):
        word = word.replace(".", "")
    try:
        return kind(word)
    except ValueError:
        return None
