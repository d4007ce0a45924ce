"""The parameters that a notebook takes, and whether a value fits one.

papermill injects a misspelt or mistyped parameter without a word, so all is checked here first. Its own
`inspect_notebook` overlooks a parameter whose help holds an ``=`` or whose default spans lines; the cell's
syntax tree does not.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from mvqlab.grid.spec import GridError

OUTPUT = "output"  # receives the point's folder
RESUME = "resume"  # tells a notebook that takes it to go on with a training that was cut short
STAGE1 = "stage1_folder"  # receives the folder of the stage 1 that it shares with points that need the same
OVERRIDES = "overrides"  # receives settings of mvqlab.config as key=value strings

TYPES: dict[str, type] = {
    "bool": bool,
    "dict": dict,
    "float": float,
    "int": int,
    "list": list,
    "None": type(None),
    "str": str,
}


@dataclass(frozen=True)
class Parameter:
    """A parameter of a notebook, and the types that it may have: none where the notebook does not tell."""

    name: str
    types: tuple[type, ...]
    default: Any

    def fitted(self, value: Any) -> Any:
        """`value` as this parameter takes it: a float may be written ``1`` or ``1e-3``.

        Raises ValueError where it does not fit.
        """
        if float in self.types and isinstance(value, int | str) and not isinstance(value, bool):
            value = _float_or_unchanged(value)
        # bool is an int to Python, but not to who reads `steps: true`
        if self.types and type(value) not in self.types:
            wanted = " or ".join(_article(one.__name__) for one in self.types)
            raise ValueError(f"must be {wanted}, not the {type(value).__name__} {value!r}")
        return value


@dataclass(frozen=True)
class Notebook:
    """A notebook's parameters, and a hash of its cells' sources (outputs and metadata left out)."""

    path: Path
    parameters: dict[str, Parameter]
    source_hash: str

    @property
    def defaults(self) -> dict[str, Any]:
        """Parameters and their default values."""
        return {name: parameter.default for name, parameter in self.parameters.items()}


def read_notebook(path: Path) -> Notebook:
    """Read the notebook at `path`.

    Raises GridError if it is no notebook, has not exactly one cell tagged ``parameters``, or does not
    take the parameter `output`.
    """
    content = _read(path)
    tagged = [cell for cell in content.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise GridError(f"{path} has {len(tagged)} cells tagged 'parameters', and must have one")
    parameters = {found.name: found for found in parameters_of(path, tagged[0].source)}
    if OUTPUT not in parameters:
        raise GridError(
            f"{path} takes no parameter '{OUTPUT}': add `output: str = \"\"` to its parameters cell, "
            "and write the result there"
        )
    return Notebook(path, parameters, _source_hash(content))


def _read(path: Path) -> NotebookNode:
    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError) as error:
        raise GridError(f"{path} cannot be read as a notebook: {error}") from None


def parameters_of(path: Path, source: str) -> Iterator[Parameter]:
    """The names that the parameters cell `source` of `path` assigns to at its top level. Raises GridError."""
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise GridError(f"the parameters cell of {path} is not valid Python: {error}") from None
    for statement in statements:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            annotation = ast.unparse(statement.annotation)
            yield _parameter(statement.target.id, annotation, statement.value)
        elif isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    yield _parameter(target.id, "", statement.value)


def _parameter(name: str, annotation: str, value: ast.expr | None) -> Parameter:
    try:
        default = None if value is None else ast.literal_eval(value)
    except ValueError:
        default = None
    if not annotation:
        return Parameter(name, () if default is None else (type(default),), default)
    # list[str] is checked as a list; what is not in TYPES is not checked
    types = [part.strip().partition("[")[0] for part in annotation.split("|")]
    expected = tuple(TYPES[one] for one in types) if set(types) <= set(TYPES) else ()
    return Parameter(name, expected, default)


def _source_hash(content: NotebookNode) -> str:
    sources = [[cell.cell_type, cell.source] for cell in content.cells]
    return hashlib.sha256(json.dumps(sources).encode()).hexdigest()


def _float_or_unchanged(value: int | str) -> float | int | str:
    # YAML takes 1e-3, without a dot, for a word
    try:
        return float(value)
    except (ValueError, OverflowError):  # a whole number may have more digits than a float takes
        return value


def _article(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"
