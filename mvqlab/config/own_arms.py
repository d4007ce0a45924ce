"""Arms of one's own: what a file outside of mvqlab adds to the words of a setting, and how it is found.

    MVQLAB_ARMS=centre.py mvqlab grid run my_grid.yaml     the same as --arms centre.py

A file runs because a person named it: by an import, by the option, or in the environment variable, where
several are separated as in PATH. The option sets the variable, so that kernels, other processes and jobs of a
cluster find the files, too. What lies with a run, a checkpoint or a download names none that would be run.

`mvqlab.arms` is what such a file imports. Here are but names, and builders that nobody looks into: settings
have to know the names before anything heavy is loaded.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from mvqlab.config.yaml_files import parse_yaml

ARMS_VARIABLE = "MVQLAB_ARMS"
GIVE_ITS_FILE = f"if it is an arm of your own, give its file with --arms FILE, or in {ARMS_VARIABLE}"
OF_STAGE1 = ("mask.kind", "mask.scorer", "quantizer.kind")
PLACES = (*OF_STAGE1, "transformer.model")
NAME = re.compile(r"[a-z][a-z0-9_]*")

Builder = Callable[..., Any]


class ArmError(RuntimeError):
    """A file of arms cannot be used, or a name be taken. The message says which, and what to do."""


@dataclass(frozen=True)
class Arm:
    """A word of a setting that a file adds.

    place: the setting, such as mask.kind. build: makes the module; what it is given, `mvqlab.arms` says.
    source: the file, or the module where there is none, as in a notebook's cell. sha256: of the file as it
    was when it ran; None where there is none. is_mask: of mask.kind: a whole mask, by learned scores.
    """

    place: str
    name: str
    build: Builder
    source: str
    sha256: str | None
    is_mask: bool = False

    @property
    def key(self) -> str:
        """``mask.kind=centre``."""
        return f"{self.place}={self.name}"


_built_in: dict[str, tuple[str, ...]] = {}  # by place
_own: dict[tuple[str, str], Arm] = {}  # by place and name
_run: set[Path] = set()  # files that have run, or are at it


def reserve(place: str, names: tuple[str, ...]) -> None:
    """Say which names mvqlab itself has for the setting `place`."""
    _built_in[place] = names


def add(place: str, name: str, build: Builder, module: Mapping[str, Any], *, is_mask: bool = False) -> None:
    """Let the setting `place` know `name`; `module` are the globals of the module that adds it.

    A module that is run again replaces what it added before. Raises ArmError.
    """
    if not NAME.fullmatch(name) or parse_yaml(name) != name:
        raise ArmError(
            f"'{name}' cannot be a word of {place}: take small letters, digits and underscores, a letter "
            "first, and no word that YAML reads as something else (yes, no, on, off, null, true, false)"
        )
    if name in _built_in[place]:
        raise ArmError(f"{place}={name} comes with mvqlab: give yours another name")
    file = module.get("__file__")
    source = str(Path(file).resolve()) if file else str(module.get("__name__"))
    before = _own.get((place, name))
    if before is not None and before.source != source:
        raise ArmError(
            f"{place}={name} is there already, from {before.source}: give one of the two another name"
        )
    _own[place, name] = Arm(place, name, build, source, _sha256(Path(source)) if file else None, is_mask)


def own_arms(place: str) -> dict[str, Arm]:
    """The arms of one's own for the setting `place`, by name; see `all_arms`."""
    return {arm.name: arm for arm in all_arms() if arm.place == place}


def all_arms() -> list[Arm]:
    """All arms of one's own; files that MVQLAB_ARMS names run first. Raises ArmError."""
    if os.environ.get(ARMS_VARIABLE):
        use_arms()
    return list(_own.values())


def own_builders(place: str) -> dict[str, Builder]:
    """What builds each of `own_arms`."""
    return {name: arm.build for name, arm in own_arms(place).items()}


def names_of(place: str) -> tuple[str, ...]:
    """All names that the setting `place` may have."""
    return (*_built_in[place], *own_arms(place))


def is_own_mask(kind: str) -> bool:
    """Whether this `mask.kind` is a whole mask of one's own, which chooses by learned scores."""
    if kind in _built_in["mask.kind"]:
        return False
    arm = _own.get(("mask.kind", kind)) or own_arms("mask.kind").get(kind)
    return arm is not None and arm.is_mask


class NamesOf(Collection[str]):
    """The names of a setting, whenever somebody asks: arms of one's own may come later than this."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __contains__(self, name: object) -> bool:
        return name in names_of(self.place)

    def __iter__(self) -> Iterator[str]:
        return iter(names_of(self.place))

    def __len__(self) -> int:
        return len(names_of(self.place))


def arms_in_use(settings: Any, places: Iterable[str] = PLACES) -> list[Arm]:
    """The arms of one's own that `settings`, a `Config`, name at `places`."""
    found = []
    for place in places:
        section, _, leaf = place.partition(".")
        name = getattr(getattr(settings, section), leaf)
        if name not in _built_in[place]:
            found.append(own_arms(place)[name])
    return found


def versions_in_use(settings: Any, places: Iterable[str] = PLACES) -> dict[str, dict[str, str]]:
    """Name and SHA-256 of the file of each of `arms_in_use` that has one, by ``mask.kind=centre``."""
    return {
        arm.key: {"file": Path(arm.source).name, "sha256": arm.sha256}
        for arm in arms_in_use(settings, places)
        if arm.sha256 is not None
    }


def unknown_names(settings: Mapping[str, Any]) -> list[str]:
    """``mask.kind=centre`` for each name in nested plain `settings` that nothing has, built in or own."""
    unknown = []
    for place in PLACES:
        section, _, leaf = place.partition(".")
        inside = settings.get(section)
        name = inside.get(leaf) if isinstance(inside, Mapping) else None
        if isinstance(name, str) and name not in names_of(place):
            unknown.append(f"{place}={name}")
    return unknown


def use_arms(files: Iterable[str | Path] = ()) -> None:
    """Run `files` of arms, after those that MVQLAB_ARMS names, and name them there for processes to come.

    Raises ArmError, one line, where a file is missing, fails, or adds no arm.
    """
    for file in files:
        if os.pathsep in str(file):
            raise ArmError(
                f"{file}: a file of arms cannot have '{os.pathsep}' in its path: rename or move it"
            )
    named = os.environ.get(ARMS_VARIABLE, "").split(os.pathsep)
    paths = [Path(file).expanduser().resolve() for file in (*filter(None, named), *files)]
    for path in dict.fromkeys(paths):
        _run_file(path)
    if paths:  # whole paths: a notebook runs in its own folder
        os.environ[ARMS_VARIABLE] = os.pathsep.join(map(str, dict.fromkeys(paths)))


def _run_file(path: Path) -> None:
    """Run the file at `path`, unless it has run, here or by an import. Raises ArmError."""
    if path in _run or any(arm.source == str(path) for arm in _own.values()):
        return
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise ArmError(f"the file of arms {path} {what}: --arms and {ARMS_VARIABLE} name Python files")
    if path.suffix != ".py":
        raise ArmError(f"the file of arms {path} is no Python file, which would end in .py")
    name = f"mvqlab_arms_{hashlib.sha256(str(path).encode()).hexdigest()[:10]}"
    module = ModuleType(name)
    module.__file__ = str(path)
    before = dict(_own)
    _run.add(path)
    sys.modules[name] = module  # where dataclasses and the like look for it
    try:
        # not by an import, which may take an older version from its cache if the file has just changed
        exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), vars(module))
        if not any(arm.source == str(path) for arm in _own.values()):
            raise ArmError(
                f"the file of arms {path} adds none: write a line such as "
                '@mask_scorer("centre") over its class, see ablations/ARMS.md'
            )
    except BaseException as error:
        _run.discard(path)
        del sys.modules[name]
        _own.clear()
        _own.update(before)
        if isinstance(error, ArmError) or not isinstance(error, Exception | SystemExit):
            raise
        raise ArmError(f"the file of arms {path} cannot be run: {_in_one_line(error, path)}") from error


def _in_one_line(error: BaseException, path: Path) -> str:
    """What went wrong in the file at `path`, and in which of its lines."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {type(error).__name__}: {error.msg}"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)
    ]
    where = f"line {lines[-1]}: " if lines else ""
    return f"{where}{type(error).__name__}: {' '.join(str(error).split())}"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
