"""What a grid will do, and what it found: for a terminal, as files and as figures.

Plans and states do without pandas and `mvqlab.plots`, which take long to import: only tables import them.
"""

from __future__ import annotations

import shutil
import statistics
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mvqlab import results
from mvqlab.grid.points import Point, build_points, folders_of
from mvqlab.grid.shared import is_trained
from mvqlab.grid.spec import Comparison, Grid, Plot, did_you_mean, read_grid
from mvqlab.grid.status import EXECUTED_FILE, LOG_FILE, Status, look, state_of
from mvqlab.grid.watch import duration, in_words, read_progress
from mvqlab.results.columns import COLUMNS, as_text, heading, printable
from mvqlab.results.summary import value_as_text
from mvqlab.results.table_files import as_latex, as_markdown, write_csv
from mvqlab.support.files import write_text_whole

if TYPE_CHECKING:
    import pandas as pd

Say = Callable[[str], None]
FEW = 8  # notebooks whose paths are listed one by one


class Collected(NamedTuple):
    """A grid's table and the folder that its files go to."""

    table: pd.DataFrame
    folder: Path
    parameters: list[str]  # the columns that were asked for, rather than measured
    plot: Plot | None  # what the grid file wants summarised
    n_older: int  # rows left out because they belong to no point of the grid file as it is now


def print_plan(path: str | Path, say: Say = print) -> None:
    """Print every point of a grid file with its state and parameters. Runs nothing. Raises GridError."""
    say = _letters_only(say)
    grid = read_grid(path)
    points = build_points(grid)
    say(f"{grid.path.name}: {grid.content.purpose}")
    say(f"notebook {grid.notebook}\nresults  {grid.results}\n")
    found = [look(folder) for folder in folders_of(points, grid.results)]
    for point, (state, _) in zip(points, found, strict=True):
        say(f"{point.index:3d}  {state:<11}  {point.label}")
        say(f"     {_given(point)}")
    done = [status for state, status in found if state == "done" and status]
    left = [point for point, (state, _) in zip(points, found, strict=True) if state != "done"]
    say(f"\n{len(points)} points: {len(done)} done, {len(left)} left{_estimate(grid, done, left)}")
    shared = {point.stage1: point for point in points if point.stage1}
    if shared:
        n_trained = sum(is_trained(point, grid.stage1_store) for point in shared.values())
        say(f"they need {len(shared)} trainings of stage 1: {n_trained} finished")


def print_status(path: str | Path, say: Say = print) -> None:
    """Print how far the points of a grid are, from any shell. Raises GridError."""
    say = _letters_only(say)
    grid = read_grid(path)
    points = build_points(grid)
    folders = folders_of(points, grid.results)
    found = [look(folder) for folder in folders]
    states = [state for state, _ in found]
    say(f"{grid.path.name}: " + ", ".join(f"{states.count(name)} {name}" for name in dict.fromkeys(states)))
    for point, folder, (state, status) in zip(points, folders, found, strict=True):
        if state == "running":
            say(f"{point.index:3d}  {point.label}  {in_words(read_progress(folder))}")
        elif state == "failed" and status is not None:
            say(f"{point.index:3d}  {point.label}  FAILED: {status.why} (at length: {folder / LOG_FILE})")


def _estimate(grid: Grid, done: Sequence[Status], left: Sequence[Point]) -> str:
    """How long one worker will need for the points that are left, by those that are done."""
    seconds = [status.seconds for status in done if status.seconds]
    if not left:
        return ""
    if seconds:
        total = statistics.median(seconds) * len(left)
        return f", about {duration(total)} with one worker, as the points done"
    cost = grid.content.cost
    if cost is None:
        return ""
    n_points = len(left) - cost.stage1_share * (len(left) - _n_trainings(left, grid.stage1_store))
    cores = duration(60 * cost.minutes_on_two_cores * n_points)
    gpu = f", {duration(60 * cost.minutes_on_gpu * n_points)} on a GPU" if cost.minutes_on_gpu else ""
    return f", about {cores} on two cores{gpu} (the file's estimate)"


def _n_trainings(points: Sequence[Point], store: Path) -> int:
    """How many times stage 1 is yet to be trained for `points`: once for all that share it."""
    shared = {point.stage1: point for point in points if point.stage1}
    n_alone = sum(not point.stage1 for point in points)
    return n_alone + sum(not is_trained(point, store) for point in shared.values())


def print_table(path: str | Path, say: Say = print) -> pd.DataFrame:
    """Collect the points of a grid file or results folder, print them, write table.csv, table.md, figures.

    Returns the table. Raises GridError or ResultError if there is nothing to collect.
    """
    say = _letters_only(say)
    collected = collect(path)
    table, folder = collected.table, collected.folder
    say(as_lines(table, collected.parameters, shutil.get_terminal_size().columns))
    if collected.n_older:
        say(f"\n({collected.n_older} older results there belong to no point of the grid as it is now)")
    notebooks = [Path(one) / EXECUTED_FILE for one in table["folder"]]
    say("")
    _say_paths(say, "table", results.save(table, folder))
    if collected.plot is not None:
        _say_paths(say, "summary", _summarise(table, collected.plot, folder, say))
    _say_paths(say, "figures", _draw(table, folder))
    there = [notebook for notebook in notebooks if notebook.exists()]
    _say_paths(say, "notebooks", there if len(there) <= FEW else [folder / "*" / EXECUTED_FILE])
    return table


def collect(path: str | Path) -> Collected:
    """The table of a results folder, or of a grid file's points as the file is now, in its order.

    Points that never ran are rows with status ``waiting``. Raises GridError or ResultError.
    """
    import pandas as pd

    path = Path(path)
    if path.is_dir():
        return Collected(_with_states(results.load(path)), path, results.parameter_names(path), None, 0)
    grid = read_grid(path)
    points = build_points(grid)
    found = _found(grid)
    folders = folders_of(points, grid.results)
    table = pd.DataFrame(
        [_row_of(point, folder, found) for point, folder in zip(points, folders, strict=True)]
    )
    parameters = list(dict.fromkeys(name for point in points for name in point.settings))
    n_older = len(set(found) - {point.id for point in points})
    return Collected(_with_states(table), grid.results, parameters, grid.content.plot, n_older)


def as_lines(table: pd.DataFrame, parameters: Sequence[str], width: int) -> str:
    """`table` in at most `width` characters a line where it can be: main columns, turned if too wide.

    Parameters that are the same everywhere are named once, above. A row stands for a point; in the
    turned form a column does, under the point's number.
    """
    columns = main_columns(table, parameters)
    same = [
        f"{name}={value_as_text(name, table[name].iloc[0])}" for name in parameters if name not in columns
    ]
    said = {name: value_as_text if name in parameters else as_text for name in columns}
    cells = {heading(name): [said[name](name, value) for value in table[name].tolist()] for name in columns}
    numbers = [str(number) for number in range(len(table))]
    lines = _aligned([["", *cells], *zip(numbers, *cells.values(), strict=True)])
    if max(map(len, lines)) > width:
        labels = cells.pop(heading("label"))
        legend = [f"{number}  {label}" for number, label in zip(numbers, labels, strict=True)]
        turned = [*legend, "", *_aligned([["", *numbers], *([name, *row] for name, row in cells.items())])]
        lines = min(turned, lines, key=lambda form: max(map(len, form)))  # of many points, neither fits
    above = textwrap.wrap(f"everywhere: {', '.join(same)}", width) if same else []
    return "\n".join([*above, *lines, *_failures(table)])


def main_columns(table: pd.DataFrame, parameters: Sequence[str]) -> list[str]:
    """The columns fit for a terminal: label, status, what varies, main metrics, other numbers."""
    varied = [name for name in parameters if len(set(map(str, table[name]))) > 1]
    main = [name for name, column in COLUMNS.items() if column.is_main]
    numbers = table.select_dtypes("number").columns
    own = [name for name in numbers if name not in COLUMNS and name not in parameters]
    metrics = [name for name in [*main, *own] if name in table]
    measured = [name for name in metrics if table[name].notna().any()]
    return ["label", "status", *varied, *measured]


def print_columns(say: Say = print) -> None:
    """Print the name, unit and meaning of every column that mvqlab knows."""
    for name, column in COLUMNS.items():
        say(f"{name:<30} {column.unit:<12} {column.meaning}")


def _letters_only(say: Say) -> Say:
    """`say` for text with people's words in it, which commands no terminal."""
    return lambda text: say(printable(text))


def _given(point: Point) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in point.parameters.items())


def _found(grid: Grid) -> dict[str, dict[str, object]]:
    """Rows under the grid's results folder, by the point's identity."""
    try:
        rows = results.load(grid.results).to_dict(orient="records")
    except results.ResultError:
        return {}
    return {row["point"]: row for row in rows}


def _row_of(point: Point, folder: Path, found: Mapping[str, dict[str, object]]) -> dict[str, object]:
    names = {"label": point.label, "variant": point.variant}
    settings = {name: results.as_cell(value) for name, value in point.settings.items()}
    row = {**names, "status": "waiting", "why": "", **settings, "point": point.id}
    asked = {**names, **settings, "folder": str(folder)}
    return {**row, **found.get(point.id, {}), **asked}


def _with_states(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with each point's state as it is now: one that claims to run may have been killed."""
    return table.assign(status=[state_of(Path(folder)) for folder in table["folder"]])


def _failures(table: pd.DataFrame) -> list[str]:
    if "why" not in table:
        return []
    told = table[(table["status"] == "failed") | table["why"].str.contains(" damaged: ", regex=False)]
    lines = [f"  {row.label}: {row.why}" for row in told.itertuples()]
    title = "failed:" if (told["status"] == "failed").all() else "failed or damaged:"
    return ["", title, *lines] if lines else []


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, each column as wide as its widest cell, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if _is_figure(cell) else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def _is_figure(cell: str) -> bool:
    return bool(cell) and cell.lstrip("-").replace(".", "").replace("e", "").replace("-", "").isdigit()


class Summaries(NamedTuple):
    """What a grid file's `plot` asks for: means over seeds, and the paired comparison if it asks for one."""

    means: pd.DataFrame
    comparison: pd.DataFrame | None
    seeds: pd.DataFrame  # the finished points that the means are over

    def draw(self, plot: Plot, path: Path) -> Path:
        """Write the figure of the means to `path`."""
        from mvqlab.plots import save_figure, summary_lines

        return save_figure(summary_lines(self.means, plot.x, plot.hues, self.seeds), path)


def summaries(table: pd.DataFrame, plot: Plot) -> Summaries:
    """Means over the seeds of a grid's `table`, and differences paired by seed, of the metrics it has."""
    metrics = [name for name in plot.metrics if name in table]
    means, asked = results.summarise(table, plot.by, metrics), plot.compare
    done = table[table["status"] == "done"] if "status" in table else table
    if asked is None or means.empty:
        return Summaries(means, None, done)
    at = [name for name in plot.by if name != asked.name]
    comparison = results.compare(table, asked.name, asked.first, asked.second, at, metrics)
    return Summaries(means, comparison, done)


def _summarise(table: pd.DataFrame, plot: Plot, folder: Path, say: Say) -> list[Path]:
    """Print means over seeds and paired comparisons; write them as CSV, Markdown and LaTeX, and draw them."""
    for name in plot.metrics:
        if name not in table:
            say(f"plot: no point has a column '{name}'{did_you_mean(name, table.columns)}")
    found = summaries(table, plot)
    if found.means.empty:
        return []
    printed = results.as_paper(found.means, plot.by)
    parts = [f"Mean and half of the 95 % interval over seeds.\n\n{as_markdown(printed)}"]
    paths = [folder / "summary.csv", folder / "summary.md", folder / "summary.tex"]
    if plot.compare is not None and found.comparison is not None:
        write_csv(found.comparison, folder / "comparison.csv")
        parts.append(_in_words(found.comparison, plot.compare, plot.by))
    if plot.published is not None:
        published = results.published(plot.published).drop(columns="table").dropna(axis=1, how="all")
        words = "Published, on other data with other networks: not to be compared with the numbers above."
        parts.append(f"{words}\n\n{as_markdown(published)}")
    text = "\n\n".join(parts)
    say(text)
    say("")
    write_csv(found.means, paths[0])
    write_text_whole(paths[1], text + "\n")
    write_text_whole(paths[2], as_latex(printed))
    return [*paths, found.draw(plot, folder / "summary.png")]


def _in_words(compared: pd.DataFrame, asked: Comparison, by: Sequence[str]) -> str:
    at = [name for name in by if name != asked.name]
    shown = compared.assign(**{one: [value_as_text(one, value) for value in compared[one]] for one in at})
    words = (
        f"{asked.name} {asked.first} minus {asked.second}, paired by seed, with the 95 % interval. "
        "`is_clear`: zero lies outside."
    )
    return f"{words}\n\n{as_markdown(shown)}"


def _draw(table: pd.DataFrame, folder: Path) -> list[Path]:
    if not (table["status"] == "done").any():
        return []
    from mvqlab.plots import draw_all

    return draw_all(table, folder)


def _say_paths(say: Say, title: str, paths: Sequence[Path]) -> None:
    for number, path in enumerate(paths):
        say(f"{title + ':' if number == 0 else '':<11} {path}")
