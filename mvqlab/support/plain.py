"""Plain Python values of whatever stands for them: what JSON and YAML files can hold."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any


class NotPlainError(ValueError):
    """A value that a file of settings or results cannot hold. The message names its place."""


def plain(value: Any, where: str = "value") -> Any:
    """`value` as numbers, words, truths, None, and lists and mappings of them.

    NumPy scalars, and arrays and tensors of one element, become Python's own numbers. Raises NotPlainError,
    which names the place in `where`.
    """
    try:
        return _plain(value, where)
    except RecursionError:
        raise NotPlainError(f"{where} holds itself, or is nested without end") from None


def json_text(content: Any, indent: int | None = None) -> str:
    """`content` as JSON that every reader takes: NaN as null, infinities as the words inf and -inf.

    Raises NotPlainError.
    """
    return json.dumps(_for_json(plain(content)), indent=indent, allow_nan=False)


def _plain(value: Any, where: str) -> Any:
    # exactly Python's own: NumPy's float64 is a float and str_ a str, which YAML refuses all the same
    if value is None or type(value) in (bool, int, float, str):
        return value
    for kind in (str, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, f"{where}.{key}") for key, inner in value.items()}
    if _holds_one_element(value):
        return _plain_element(value, where)
    if hasattr(value, "__index__") and not hasattr(value, "__len__"):
        return operator.index(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(inner, f"{where}[{place}]") for place, inner in enumerate(value)]
    raise NotPlainError(
        f"{where} is a {type(value).__name__}, which a result cannot hold: "
        "give numbers, words, or lists and mappings of them; keep arrays in a file of their own"
    )


def _plain_element(value: Any, where: str) -> Any:
    element = value.item()
    if type(element) is type(value):  # an extended float is its own element
        if not isinstance(element, Real):
            raise NotPlainError(f"{where} is a {type(value).__name__}, which a result cannot hold")
        element = float(element)
    return _plain(element, where)


def _holds_one_element(value: Any) -> bool:
    """Whether `value` is a NumPy scalar or a torch tensor or array of one element."""
    count = value.numel() if hasattr(value, "numel") else getattr(value, "size", 0)
    return hasattr(value, "item") and count == 1


def _for_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _for_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_for_json(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
