"""The grid file: which notebook, which parameters, which points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mvqlab.config.nearest import advice_for
from mvqlab.config.yaml_files import YamlFileError, read_yaml
from mvqlab.support.lab import IS_COPY, LAB, LAID_OUT, here_or_in_lab

Parameters = dict[str, Any]


class GridError(ValueError):
    """A grid file or its notebook is not fit to run. The message lists every fault found."""


class ChangedGridError(GridError):
    """A grid is not what it was when whoever asks for one of its points began."""


class GridSection(BaseModel):
    """A section of a grid file: frozen, and strict about names; its numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Cost(GridSection):
    """What one point takes that trains its own stage 1, estimated; a plan soon goes by the points done."""

    minutes_on_two_cores: Annotated[float, Field(gt=0)]
    # a guess: no grid has run on a GPU yet
    minutes_on_gpu: Annotated[float, Field(gt=0)] | None = None
    # of these minutes, what stage 1 takes, which points that need the same train once
    stage1_share: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Comparison(GridSection):
    """A paired comparison over seeds: what `first` does differently from `second`."""

    name: str  # the parameter, such as mask
    first: Any
    second: Any


class Plot(GridSection):
    """What to summarise and draw: `metrics` over the parameter `x`, a line each value of `hue`.

    `variant` stands for all that tells points apart, the seed aside.
    """

    x: str
    hue: str | list[str] = []
    metrics: Annotated[list[str], Field(min_length=1)]
    compare: Comparison | None = None
    published: str | None = None  # a table of mvqlab/results/published.csv, to stand beside

    @property
    def by(self) -> list[str]:
        """The parameters that make a group."""
        return [*self.hues, self.x]

    @property
    def hues(self) -> list[str]:
        """The parameters whose values together make a line."""
        return [self.hue] if isinstance(self.hue, str) else self.hue


class Slurm(GridSection):
    """What a point asks of SLURM; the command line can say otherwise."""

    partition: str | None = None
    # upper bounds refuse what no cluster has; what a cluster has is its own matter
    minutes: Annotated[int, Field(ge=1, le=10**6)] = 60
    # in whole megabytes, of which none would mean all that a machine has
    memory_gb: Annotated[float, Field(ge=0.001, le=10**5)] | None = None
    cpus: Annotated[int, Field(ge=1, le=2**12)] = 2
    gpus: Annotated[int, Field(ge=0, le=2**10)] = 0
    parallel: Annotated[int, Field(ge=1, le=10**6)] = 256  # points at a time


class GridFile(GridSection):
    """What a grid file may say::

        purpose: Does it matter which regions are dropped?
        notebook: ../notebooks/ablation_point.ipynb
        base: {preset: shapes32, demask.layers: 2}
        axes:
          mask: [adaptive, random]                             # every mask with every pair below
          mask_ratio, stage1_steps: [[0.5, 600], [0.75, 900]]  # these two move together
        seeds: [0, 1]
        exclude: [{mask: random, mask_ratio: 0.75}]
        cost: {minutes_on_two_cores: 2}
        plot: {x: mask_ratio, hue: mask, metrics: [psnr, codebook_perplexity]}

    A name is a parameter of the notebook; a dotted one (``demask.layers``) is a setting of
    `mvqlab.config`, handed to the notebook in its parameter `overrides`.

    The grid itself sets those of the notebook's parameters `output` (the point's folder), `resume` (true) and
    `stage1_folder` that it has. The last is the folder of a stage 1, the same for all points whose settings
    ask for the same training of it: those that differ in `transformer`, `stage2`, `sampling`, most of
    `evaluation` or, without budgets, in `mask.evaluation_ratio` (`mvqlab.config.stage1_settings`).
    """

    purpose: str  # the question that the grid answers
    notebook: Path  # relative to the grid file, or to the project's root
    results: Path | None = None  # relative to the project's root; default: results/<name of the grid file>
    shares_with: str | None = None  # another grid, by name: each stage 1 lies where that keeps its own
    base: Parameters = {}  # common to all points; axes, points and seeds go before it
    axes: dict[str, list[Any]] = {}  # every value with every value of the other axes
    points: list[Parameters] = []  # an explicit list; `label` names a point in tables and figures
    seeds: list[int] = []  # each point once a seed
    exclude: list[Parameters] = []  # points that match all of an entry are left out
    # seconds a point may take, a wait for a stage 1 that another grid trains included; none: as long as it
    # likes. Clocks cannot wait for much longer than the bound
    time_limit: Annotated[float, Field(gt=0, le=10**8)] | None = None
    cost: Cost | None = None
    plot: Plot | None = None
    slurm: Slurm = Slurm()


@dataclass(frozen=True)
class Grid:
    """A grid file that was read, and the places it names (absolute paths)."""

    path: Path
    content: GridFile
    notebook: Path
    results: Path
    stage1_store: Path  # where each stage 1 that points share lies


def read_grid(path: str | Path) -> Grid:
    """Read the grid file at `path`, or of that name: ``quickstart`` is ``ablations/quickstart.yaml``.

    Such a file is looked for in the current folder, then among the grids that come with the library. Raises
    GridError, listing every fault with the nearest known name.
    """
    path = _named(Path(path)).resolve()
    content = _checked(path, _read(path))
    root = project_root(path)
    notebook = _first_file([path.parent / content.notebook, root / content.notebook])
    results = _results_of(path, content)
    keeper = results if content.shares_with is None else _results_of_owner(path, content.shares_with)
    return Grid(path, content, notebook, results, keeper / "stage1")


def _results_of_owner(path: Path, name: str) -> Path:
    """Where the grid `name` keeps its results: a file beside that at `path`, or one of the library's."""
    beside = path.with_name(f"{name}.yaml") if name and name == Path(name).name else path
    try:
        owner = beside if beside != path and beside.is_file() else _named(Path(name)).resolve()
        content = _checked(owner, _read(owner))
    except GridError as error:
        raise GridError(f"{path}: shares_with: {error}") from None
    if content.shares_with is not None:
        raise GridError(
            f"{path}: shares_with: '{name}' itself shares with '{content.shares_with}': name that"
        )
    return _results_of(owner, content)


def _results_of(path: Path, content: GridFile) -> Path:
    return project_root(path) / (content.results or Path("results") / path.stem)


def project_root(path: Path) -> Path:
    """The nearest folder above `path` with a pyproject.toml or .git, or that was laid out for the course.

    Without one it is the folder that `path` is in; for a file of an installed package the current folder.
    """
    if IS_COPY and path.is_relative_to(LAB):
        return Path.cwd()
    for folder in path.parents:
        if any((folder / name).exists() for name in ("pyproject.toml", ".git", LAID_OUT)):
            return folder
    return path.parent


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` — did you mean 'x'?`` for the known name nearest to `name`, or nothing."""
    advice = advice_for(name, known)
    return f" — {advice}" if advice else ""


def report_faults(path: Path, faults: Sequence[str]) -> None:
    """Raise GridError with all `faults` of the grid file at `path`, if there are any."""
    if faults:
        raise GridError(f"{path} is not fit to run:\n" + "\n".join(f"  {fault}" for fault in faults))


def _named(path: Path) -> Path:
    if path.is_file() or path.name != str(path) or path.suffix:
        return path
    found = here_or_in_lab(Path("ablations") / f"{path}.yaml")
    if found.is_file():
        return found
    names = [grid.stem for grid in LAB.glob("ablations/*.yaml")]
    raise GridError(f"there is no file and no grid '{path}'{did_you_mean(path.name, names)}")


def _read(path: Path) -> Any:
    try:
        return read_yaml(path, "grid file")
    except YamlFileError as error:
        raise GridError(str(error)) from None


def _checked(path: Path, content: Any) -> GridFile:
    try:
        return GridFile.model_validate(content)
    except ValidationError as error:
        report_faults(path, [_explain(fault) for fault in error.errors()])
        raise


def _explain(fault: Any) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{key}: unknown entry{did_you_mean(key, GridFile.model_fields)}"
    if fault["type"] == "missing":
        return f"{key}: missing"
    message = f"{fault['msg']} (got {fault['input']!r})"
    return f"{key}: {message}" if key else message


def _first_file(candidates: Sequence[Path]) -> Path:
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    raise GridError("there is no notebook at " + " nor at ".join(str(path) for path in candidates))
