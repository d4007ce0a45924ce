"""Packages that only some settings need, and that an extra of mvqlab brings."""

from __future__ import annotations

import importlib
from typing import Any


class MissingPackageError(ImportError):
    """A package that a setting needs is not installed. The message says which, for what, and what to do."""


def required(module: str, extra: str, used_for: str) -> Any:
    """The module of that name, which `mvqlab[extra]` brings and `used_for` needs.

    Raises MissingPackageError.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"{used_for} needs {module.partition('.')[0]}: pip install 'mvqlab[{extra}]' ({error})"
        ) from None
