"""A notebook's parameters, checked in the notebook: papermill lets a misspelt one pass and runs the defaults.

check_parameters(globals(), image=range(256))    # first thing in the cell after the parameters
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mvqlab.grid.notebook import OUTPUT, Parameter, parameters_of
from mvqlab.grid.spec import GridError, did_you_mean

FROM_1 = range(1, 2**31)
COMMON: dict[str, Collection[object]] = {"scale": ("quick", "full"), "seed": range(2**32)}
INJECTED = "# Parameters"  # how papermill begins the cell that it writes


class ParameterError(ValueError):
    """A notebook was given a parameter that it does not take, or a value that does not fit."""


def check_parameters(
    namespace: Mapping[str, Any], *, needs: Sequence[str] = (), **allowed: Collection[object]
) -> None:
    """Check names, types and values of the parameters of the notebook whose ``globals()`` are given.

    The cells that have run tell which parameters there are and what papermill wrote under them. allowed: the
    values that a parameter may have, in a range or a collection; every `scale` is quick or full. needs: files
    that the notebook reads, relative to its own folder.

    Raises ParameterError with every fault, and the lines that say what is known.
    """
    declaration, injected = _cells(namespace.get("In", ()))
    known = {parameter.name: parameter for parameter in _declared_in(declaration)}
    faults = [
        f"there is no parameter '{given.name}'{did_you_mean(given.name, known)}"
        for cell in injected
        for given in _declared_in(cell)
        if given.name not in known
    ]
    for name, parameter in known.items():
        faults += _faults_of(parameter, namespace.get(name), {**COMMON, **allowed}.get(name))
    faults += [
        f"there is no {path} from {Path.cwd()} on: a notebook runs in its own folder (papermill --cwd FOLDER)"
        for path in needs
        if isinstance(path, str) and not Path(path).expanduser().exists()
    ]
    if faults:
        listed = "\n".join(f"  {line}" for line in faults)
        raise ParameterError(f"the parameters do not fit:\n{listed}\nknown are:\n{declaration}")


def _cells(history: Sequence[str]) -> tuple[str, list[str]]:
    """The newest cell that declares parameters, and those that papermill wrote after it."""
    for place in reversed(range(len(history))):
        cell = history[place]
        if not cell.startswith(INJECTED) and any(one.name == OUTPUT for one in _declared_in(cell)):
            return cell, [later for later in history[place:] if later.startswith(INJECTED)]
    return "", []


def _declared_in(cell: str) -> list[Parameter]:
    try:
        return list(parameters_of(Path("the notebook"), cell))
    except GridError:  # a cell of magic commands is no Python
        return []


def _faults_of(parameter: Parameter, value: object, allowed: Collection[object] | None) -> Iterator[str]:
    try:
        if not (type(value) is int and float in parameter.types):
            parameter.fitted(value)
        if isinstance(value, str) and parameter.types and str not in parameter.types:
            # a word such as 1e-3, which a grid hands on as a number and papermill does not
            raise ValueError(f"must be a number, not the str {value!r}")
    except ValueError as error:
        yield f"{parameter.name} {error}"
        return
    if allowed is not None and value not in allowed:
        yield f"{parameter.name} must be {_in_words(allowed)}, not {value!r}"


def _in_words(allowed: Collection[object]) -> str:
    if isinstance(allowed, range):
        end = "on" if allowed.stop == FROM_1.stop else f"to {allowed.stop - 1}"
        return f"a whole number from {allowed.start} {end}"
    return f"one of {', '.join(map(str, allowed))}"
