"""The points of a grid: expanded, checked one and all before the first starts, each with an identity."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from mvqlab import __version__
from mvqlab.config import (
    SHORT_NAMES,
    Config,
    ConfigError,
    DataConfig,
    annotation_of,
    config_from_dict,
    load_config,
    merged,
    overrides_of,
)
from mvqlab.config.own_arms import arms_in_use
from mvqlab.config.typed_text import is_text
from mvqlab.grid.notebook import OUTPUT, OVERRIDES, RESUME, STAGE1, Notebook, read_notebook
from mvqlab.grid.shared import hash_of_settings, name_of_stage1, slug
from mvqlab.grid.spec import (
    ChangedGridError,
    Grid,
    GridError,
    GridFile,
    Parameters,
    Plot,
    did_you_mean,
    report_faults,
)
from mvqlab.results import TOLD
from mvqlab.results.summary import key_of
from mvqlab.support.pretrained import MissingWeightsError, require_all

LABEL = "label"
SET_BY_GRID = {OUTPUT, RESUME, STAGE1}
MOST_POINTS = 20_000  # of a grid


@dataclass(frozen=True)
class Point:
    """One run of the notebook.

    parameters: what the notebook is given, `output` apart. settings: the same for people, with the
    notebook's defaults filled in, and each setting that the grid changes under its dotted name.
    variant: the label without the seed, which points that differ in nothing else have in common.
    id: hash of all that decides the outcome; its folder is found by it. stage1: names the training of stage 1
    that it shares with all points that need the same; empty where its notebook shares none.
    """

    index: int
    label: str
    variant: str
    parameters: Parameters
    settings: Parameters
    id: str
    config: Parameters = field(default_factory=dict, repr=False)  # nested; empty where a notebook takes none
    stage1: str = ""

    def folder(self, results: Path) -> Path:
        """The point's folder under `results`: the one it already has, whatever its label was then."""
        return folders_of([self], results)[0]


def folders_of(points: Sequence[Point], results: Path) -> list[Path]:
    """The folder of each of `points` under `results`, which is listed once, however many they are."""
    names = sorted(os.listdir(results), reverse=True) if results.is_dir() else []
    existing = {name.rpartition("-")[2]: name for name in names}  # the first by name, where there are two
    return [results / existing.get(point.id, f"{slug(point.label)}-{point.id}") for point in points]


def build_points(grid: Grid) -> list[Point]:
    """All points of `grid`. Raises GridError with every fault of every point."""
    layout = _lay_out(grid)
    faults: dict[str, list[int]] = defaultdict(list)
    points = []
    for index, one in enumerate(layout.wanted):
        checked = _check(one.settings, layout.notebook)
        for fault in checked.faults:
            faults[fault].append(index)
        points.append(_point(index, one, checked, layout))
    listed = [f"{fault} ({_place(indices, len(points))})" for fault, indices in faults.items()]
    between = [] if listed else _faults_between(points)
    of_all = _faults_of_plot(grid.content, points) + _faults_of_exclude(grid.content, layout.everything)
    report_faults(grid.path, of_all + listed + between)
    report_faults(grid.path, [] if points else ["exclude: leaves no point"])
    return points


def build_point(grid: Grid, index: int, expected_id: str = "") -> Point:
    """The point at `index`, as `build_points` has it; the others are counted, not checked.

    With an `expected_id` it is the point of that identity, wherever it stands by now: a grid file that is
    edited while its grid runs changes what an index stands for. Raises GridError for an index that there is
    not and for a fault of this point, ChangedGridError where no point has that identity any more.
    """
    layout = _lay_out(grid)
    if not expected_id:
        _require_indices([index], len(layout.wanted))
        return _point_at(index, grid, layout)
    order = sorted(range(len(layout.wanted)), key=lambda place: place != index)  # mostly it has not moved
    for place in order:
        with suppress(GridError):
            point = _point_at(place, grid, layout)
            if point.id == expected_id:
                return point
    raise ChangedGridError(
        f"point {index} is not what it was when the grid started: its grid file, notebook, preset or mvqlab "
        "itself has changed since. Start the grid again"
    )


def _point_at(index: int, grid: Grid, layout: _Layout) -> Point:
    one = layout.wanted[index]
    checked = _check(one.settings, layout.notebook)
    report_faults(grid.path, [f"{fault} (point {index})" for fault in checked.faults])
    return _point(index, one, checked, layout)


def choose(points: Sequence[Point], only: Sequence[int]) -> list[Point]:
    """The points whose index is in `only`, or all. Raises GridError for an index that there is not."""
    _require_indices(only, len(points))
    chosen = set(only) or range(len(points))
    return [point for point in points if point.index in chosen]


def _require_indices(indices: Sequence[int], n_points: int) -> None:
    absent = ", ".join(str(index) for index in sorted(set(indices)) if not 0 <= index < n_points)
    if absent:
        raise GridError(f"there is no point {absent}: indices go from 0 to {n_points - 1}")


def check_needs(grid: Grid, points: Sequence[Point]) -> None:
    """Check that the data and the pretrained weights which `points` will ask for are on this machine.

    Raises GridError, naming all that is missing.
    """
    # points differ in seeds and sizes; few differ in what these sections ask for
    asking = ("data", "loss", "evaluation")
    different = {
        json.dumps([point.config[part] for part in asking]): point for point in points if point.config
    }
    faults = []
    for config in [config_from_dict(point.config) for point in different.values()]:
        faults += _faults_of_data(config.data, grid.notebook.parent)
        try:
            require_all(config)
        except MissingWeightsError as error:
            faults += error.missing
    report_faults(grid.path, list(dict.fromkeys(faults)))


def _faults_of_data(data: DataConfig, folder: Path) -> list[str]:
    """What is missing of a run's images; the notebook runs in `folder`, where relative paths begin."""
    root = data.root and folder / data.root.expanduser()
    captions = data.captions and folder / data.captions.expanduser()
    absent = []
    if data.name == "folder" and root is not None and not root.is_dir():
        absent.append(f"data.root: there is no folder {root}")
    if captions is not None and not captions.is_file():
        absent.append(f"data.captions: there is no file {captions}")
    if absent:
        return absent
    from mvqlab.data.catalogue import missing  # takes long, and only a grid that is to run needs it

    return [f"data.name: there is no {what}" for what in missing(data.model_copy(update={"root": root}))]


def _faults_of_layout(content: GridFile) -> list[str]:
    """Faults that forbid expanding: axes that do not fit together, names given in two places."""
    faults = []
    for axis, values in content.axes.items():
        names = _names(axis)
        if not values:
            faults.append(f"axes: '{axis}' has no values")
        for value in values if len(names) > 1 else []:
            if not isinstance(value, list) or len(value) != len(names):
                faults.append(f"axes: '{axis}' needs lists of {len(names)} values, not {value!r}")
    varied = [name for axis in content.axes for name in _names(axis)] + ["seed"] * bool(content.seeds)
    listed = {name for point in content.points for name in point}
    for name in sorted({name for name in varied if varied.count(name) > 1 or name in listed}):
        faults.append(f"'{name}' is given in two of axes, points and seeds")
    if not (varied or content.points):
        faults.append("there are no points: give axes, points or seeds")
    n_points = (
        math.prod(map(len, content.axes.values())) * len(content.points or [{}]) * len(content.seeds or [0])
    )
    if n_points > MOST_POINTS:  # multiplied, not counted: a slip of the pen makes millions
        what = (
            "axes, points and seeds make"
            if not content.exclude
            else "before exclude, axes, points and seeds make"
        )
        faults.append(
            f"{what} {n_points:,} points; a grid has at most {MOST_POINTS:,}: make several grids of it"
        )
    return faults


def _faults_of_comparison(plot: Plot, points: Sequence[Point]) -> list[str]:
    """Sides of the comparison that no point has."""
    if plot.compare is None or not points:
        return []
    name = plot.compare.name
    there = {key_of({**point.settings, "variant": point.variant}[name]) for point in points}
    sides = {"first": plot.compare.first, "second": plot.compare.second}
    return [
        f"plot: compare: no point has {name} {value!r}, which is to be the {side}"
        for side, value in sides.items()
        if key_of(value) not in there
    ]


def _faults_of_plot(content: GridFile, points: Sequence[Point]) -> list[str]:
    if content.plot is None:
        return []
    names = [*content.plot.by, *([content.plot.compare.name] if content.plot.compare else [])]
    known = {name for point in points for name in point.settings} | {"variant"}
    absent = [name for name in names if name not in known]
    if absent:
        return [f"plot: the points have no parameter '{name}'{did_you_mean(name, known)}" for name in absent]
    groups: dict[str, set[str]] = defaultdict(set)
    for point in points:
        values = {**point.settings, "variant": point.variant}
        groups[str([values[name] for name in content.plot.by])].add(point.variant)
    faults = _faults_of_comparison(content.plot, points)
    if content.plot.published is not None:
        from mvqlab.results.summary import SummaryError, published  # reads a table, and few grids ask

        try:
            published(content.plot.published)
        except SummaryError as error:
            faults.append(f"plot: published: {error}")
    return faults + [
        f"plot: {' and '.join(sorted(group))} would be taken for one; name what tells them apart in x or hue"
        for group in groups.values()
        if len(group) > 1
    ]


class _Wanted(NamedTuple):
    label: str
    variant: str
    settings: Parameters


class _Layout(NamedTuple):
    """A grid expanded, before any of its points is checked."""

    notebook: Notebook
    everything: list[_Wanted]  # what is excluded, too
    wanted: list[_Wanted]
    changed: list[str]  # the settings that some point changes, shown for every point


def _lay_out(grid: Grid) -> _Layout:
    """Expand `grid`. Raises GridError for faults that forbid it, and for more points than a grid may have."""
    notebook = read_notebook(grid.notebook)
    report_faults(grid.path, _faults_of_layout(grid.content))
    everything = list(_expand(grid.content))
    wanted = [one for one in everything if not _is_excluded(one.settings, grid.content)]
    changed = list(dict.fromkeys(name for one in wanted for name in one.settings if "." in name))
    return _Layout(notebook, everything, wanted, changed)


def _expand(content: GridFile) -> Iterator[_Wanted]:
    """The settings of each point, with its label; points outermost, seeds innermost."""
    axes = [[_settings(axis, value) for value in values] for axis, values in content.axes.items()]
    axes.append([{"seed": seed} for seed in content.seeds] or [{}])
    for point in content.points or [{}]:
        own = {name: value for name, value in point.items() if name != LABEL}
        for combination in itertools.product(*axes):
            varied = {name: value for part in combination for name, value in part.items()}
            named = [str(point[LABEL])] if LABEL in point else _in_words(own)
            words = named + _in_words({name: value for name, value in varied.items() if name != "seed"})
            label = ", ".join(named + _in_words(varied)) or "base"
            yield _Wanted(label, ", ".join(words) or "base", {**content.base, **own, **varied})


def _in_words(settings: Parameters) -> list[str]:
    return [f"{name}={value}" for name, value in settings.items()]


def _names(axis: str) -> list[str]:
    return [name.strip() for name in axis.split(",")]


def _settings(axis: str, value: Any) -> Parameters:
    names = _names(axis)
    return dict(zip(names, value, strict=True)) if len(names) > 1 else {names[0]: value}


def _is_excluded(settings: Parameters, content: GridFile) -> bool:
    return any(_matches(settings, entry) for entry in content.exclude)


def _matches(settings: Parameters, entry: Parameters) -> bool:
    return all(name in settings and settings[name] == value for name, value in entry.items())


def _faults_of_exclude(content: GridFile, everything: Sequence[_Wanted]) -> list[str]:
    return [
        f"exclude: no point matches {entry!r}"
        for entry in content.exclude
        if not any(_matches(one.settings, entry) for one in everything)
    ]


class _Checked(NamedTuple):
    given: Parameters  # to the notebook
    complete: Parameters  # with the notebook's defaults
    config: Parameters  # nested settings that the notebook starts from; empty where it takes none
    plain: Parameters  # the same, with those that are not written
    stage1: str  # as in `Point`
    arms: list[str | None]  # SHA-256 of the file of each arm of one's own
    faults: list[str]


def _check(settings: Parameters, notebook: Notebook) -> _Checked:
    """The notebook's parameters that `settings` stand for, and all that is wrong with them."""
    faults = []
    given: Parameters = {}
    for name, value in settings.items():
        try:
            if "." not in name:
                given[name] = _fitted(name, value, notebook)
        except ValueError as error:
            faults.append(f"'{name}' {error}")
    listed = [one.partition("=")[0].strip() for one in given.get(OVERRIDES) or [] if isinstance(one, str)]
    faults += _faults_of_names(settings, listed, notebook)
    dotted = [as_override(name, value) for name, value in settings.items() if "." in name]
    takes_settings = OVERRIDES in notebook.parameters
    if dotted and takes_settings:
        given[OVERRIDES] = [*given.get(OVERRIDES, []), *dotted]
    elif dotted:
        faults.append(f"'{dotted[0]}' is a setting, but {notebook.path.name} takes no '{OVERRIDES}'")
    complete = {name: value for name, value in notebook.defaults.items() if name not in SET_BY_GRID} | given
    config: Parameters = {}
    plain: Parameters = {}
    stage1 = ""
    arms: list[str | None] = []
    try:
        if takes_settings:
            whole = _config(complete, notebook)
            config, plain = whole.model_dump(mode="json"), whole.plain()
            arms = [arm.sha256 for arm in arms_in_use(whole)]
            stage1 = name_of_stage1(whole) if STAGE1 in notebook.parameters else ""
    except ConfigError as error:
        faults += map(str, error.faults)
    return _Checked(given, complete, config, plain, stage1, arms, faults)


def _faults_of_names(settings: Parameters, listed: Sequence[str], notebook: Notebook) -> list[str]:
    """Texts that YAML reads as something else, and settings that have another name or are `listed`, too."""
    faults = [
        f"'{name}' is read by YAML as the {type(value).__name__} {value}: put it in quotes"
        for name, value in settings.items()
        if is_text(annotation_of(name)) and "." in name and not isinstance(value, str | None)
    ]
    faults += [
        f"'{short}' is given twice, by itself and as {name} in '{OVERRIDES}'"
        for short, name in SHORT_NAMES.items()
        if short in settings and name in listed
    ]
    faults += [
        f"'{name}' is the notebook's parameter '{short}': give it by that name"
        for short, name in SHORT_NAMES.items()
        if name in settings and name != short and short in notebook.parameters
    ]
    return faults


def _point(index: int, one: _Wanted, checked: _Checked, layout: _Layout) -> Point:
    shown = {name: value for name, value in checked.complete.items() if name != OVERRIDES}
    shown |= {name: _look_up(checked.plain, name) for name in layout.changed}
    identity = [checked.complete, checked.config, layout.notebook.source_hash, __version__, *checked.arms]
    return Point(
        index,
        one.label,
        one.variant,
        checked.given,
        shown,
        hash_of_settings(identity),
        checked.config,
        checked.stage1,
    )


def _look_up(config: Parameters, name: str) -> Any:
    value: Any = config
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _fitted(name: str, value: Any, notebook: Notebook) -> Any:
    """`value` as the notebook's parameter `name` takes it. Raises ValueError."""
    if name in SET_BY_GRID:
        raise ValueError("is set by the grid itself: leave it out")
    if name in TOLD:
        raise ValueError("is a column that every table has: call the parameter something else")
    if name not in notebook.parameters:
        hint = did_you_mean(name, notebook.parameters)
        raise ValueError(f"is no parameter of {notebook.path.name}{hint}")
    _check_plain(value)
    fitted = notebook.parameters[name].fitted(value)
    _check_plain(fitted)  # `nan` is a word to YAML, and a number to who reads a float
    return fitted


def _check_plain(value: Any) -> None:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            _check_plain(inner)
    elif not isinstance(value, str | bool | int | float | None):
        raise ValueError(f"is read by YAML as a {type(value).__name__} ({value}): put it in quotes")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"is {value}, which no JSON file can hold: give a number, null, or words in quotes")


def _config(parameters: Parameters, notebook: Notebook) -> Config:
    """All settings that the notebook starts from, with its preset's own: a changed preset is a new point."""
    preset = parameters.get("preset") or "shapes32"
    if Path(preset).suffix in {".yaml", ".yml"}:
        preset = notebook.path.parent / preset
    return load_config(preset, merged(overrides_of(parameters), parameters.get(OVERRIDES) or []))


def as_override(name: str, value: Any) -> str:
    """``name=value``, which `mvqlab.config` reads back to the same value."""
    if isinstance(value, str) and is_text(annotation_of(name)):
        return f"{name}={value}"
    # YAML, not JSON: load_config reads the value back with YAML, which takes JSON's 1e-05 for a word
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return f"{name}={text.strip().removesuffix('...').strip()}"


def _place(indices: Sequence[int], n_points: int) -> str:
    if len(indices) == n_points:
        return "every point"
    return f"point{'s' * (len(indices) > 1)} {', '.join(map(str, indices))}"


def _faults_between(points: Sequence[Point]) -> list[str]:
    """Points that are the same, or cannot be told apart in a table."""
    faults = []
    by_id: dict[str, Point] = {}
    by_label: dict[str, Point] = {}
    for point in points:
        same, namesake = by_id.setdefault(point.id, point), by_label.setdefault(point.label, point)
        if same is not point:
            faults.append(f"points {same.index} and {point.index} are the same")
        elif namesake is not point:
            faults.append(f"points {namesake.index} and {point.index} are both labelled '{point.label}'")
    return faults
