"""Results of runs: written whole by the notebook of a point, read back as one tidy table, a row a point.

    write_result(output, {"psnr": 21.3, "codebook_perplexity": 57})      # a notebook's last act
    table = load("results/quickstart")                                    # everybody else's first

A point's folder holds point.json (what was asked), status.json (how it went) and result.json (what came out).
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvqlab import __version__
from mvqlab.results.columns import COLUMNS
from mvqlab.results.table_files import as_latex, as_markdown, write_csv
from mvqlab.support.files import whole_file, write_text_whole
from mvqlab.support.memory import peak_process_memory
from mvqlab.support.plain import NotPlainError, json_text, plain
from mvqlab.support.progress import PROGRESS_FILE
from mvqlab.support.threads import threads_named

if TYPE_CHECKING:
    import pandas as pd

POINT_FILE = "point.json"
STATUS_FILE = "status.json"
RESULT_FILE = "result.json"
# columns that every table has; a metric of that name stands beside them as measured_<name>
TOLD = {"index", "label", "variant", "status", "why", "seconds", "started", "point", "folder"}
FACTS = {"device", "threads", "mvqlab", "python", "torch", "git_commit"}
FACTS |= {"peak_memory_mib", "peak_gpu_memory_mib"}
RESERVED = TOLD | FACTS


class ResultError(ValueError):
    """A result cannot be stored, or there is none to read."""


def write_result(folder: str | Path, metrics: Mapping[str, Any]) -> None:
    """Write `metrics` and what they were computed with to `folder`, whole: a notebook's last act.

    Metrics are numbers, words, lists or nested mappings of them; NumPy and torch scalars are turned into
    plain numbers. Nothing is written where `folder` is empty, as in a notebook opened by hand.

    A metric that is called as a column which every table has (`RESERVED`: seconds, device, ...) is shown as
    measured_seconds. Raises ResultError, naming the entry that cannot be stored.
    """
    if not str(folder):
        return
    try:
        record = {"metrics": plain(dict(metrics), "metrics"), "environment": environment()}
    except NotPlainError as error:
        raise ResultError(str(error)) from None
    _check_names(record["metrics"])
    write_text_whole(Path(folder) / RESULT_FILE, json_text(record, indent=1))


def write_progress(folder: str | Path, stage: str, step: int, steps: int, **values: float) -> None:
    """Tell a watching grid how far a notebook is: ``write_progress(output, "sampling", 3, 10)``.

    Nothing is written where `folder` is empty.
    """
    if not str(folder):
        return
    state = {"stage": stage, "step": step, "steps": steps, **values}
    write_text_whole(Path(folder) / PROGRESS_FILE, json_text(state))


def environment() -> dict[str, Any]:
    """Device, threads, memory and versions of this process. torch is looked at only where it is in use."""
    facts: dict[str, Any] = {
        "device": f"cpu ({platform.machine()})",
        "threads": threads_named() or os.cpu_count() or 1,
        "mvqlab": __version__,
        "python": platform.python_version(),
        "git_commit": _git_commit(),
    }
    peak = peak_process_memory()
    facts["peak_memory_mib"] = None if peak is None else round(peak / 2**20, 1)
    torch = sys.modules.get("torch")
    if torch is not None:
        facts |= {"torch": str(torch.__version__), "threads": torch.get_num_threads()}
        if torch.cuda.is_available():
            facts["device"] = f"cuda ({torch.cuda.get_device_name(0)})"
            facts["peak_gpu_memory_mib"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return facts


def _git_commit() -> str | None:
    """The commit that mvqlab was imported from, with ``+`` if files were changed since; None outside git."""
    folder = Path(__file__).parents[1]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", __file__)  # or it lies in an environment inside another project
        is_changed = bool(git("status", "--porcelain", "--", str(folder)))
        return git("rev-parse", "--short=10", "HEAD") + "+" * is_changed
    except (OSError, subprocess.SubprocessError):
        return None


def load(folder: str | Path) -> pd.DataFrame:
    """All points under `folder` as a table: one row a point, failed ones too, in the grid's order.

    Columns: label, status, why, the point's parameters (settings under their dotted names), its metrics
    (nested ones joined by ``_``), seconds, device and versions, started, point, folder.

    Raises ResultError if there is no point.
    """
    import pandas as pd

    folders = point_folders(folder)
    if not folders:
        raise ResultError(f"no results under {folder}: no point of a grid has run there yet")
    rows = sorted(map(_row, folders), key=lambda row: (row["index"], row["label"]))
    table = pd.DataFrame(rows).drop(columns="index")
    return table.assign(started=pd.to_datetime(table["started"], utc=True, errors="coerce"))


def point_folders(folder: str | Path) -> list[Path]:
    """The folders of points under `folder`, sorted: those that hold what a point writes first, or last."""
    names = (POINT_FILE, STATUS_FILE, RESULT_FILE)
    return sorted({path.parent for name in names for path in Path(folder).glob(f"*/{name}")})


def parameter_names(folder: str | Path) -> list[str]:
    """The columns of `load(folder)` that are parameters of its points."""
    points = [read_json(path) for path in sorted(Path(folder).glob(f"*/{POINT_FILE}"))]
    return list(dict.fromkeys(name for point in points for name in _mapping(point, "settings")))


def to_markdown(table: pd.DataFrame) -> str:
    """`table` as a Markdown table with units in its headings, then the meaning of each known column."""
    meanings = [f"- `{name}`: {COLUMNS[name].meaning}" for name in table if name in COLUMNS]
    return "\n".join([as_markdown(table), "", *meanings, ""])


def to_latex(table: pd.DataFrame) -> str:
    """`table` as a LaTeX tabular (package booktabs) with units in its headings and every sign escaped."""
    return as_latex(table)


def save(table: pd.DataFrame, folder: str | Path) -> list[Path]:
    """Write `table` to table.csv and table.parquet (all digits) and table.md (rounded); returns the paths."""
    csv, parquet, markdown = (Path(folder) / f"table.{kind}" for kind in ("csv", "parquet", "md"))
    write_csv(table, csv)
    with whole_file(parquet) as path:
        _for_parquet(table).to_parquet(path, index=False)
    write_text_whole(markdown, to_markdown(table.drop(columns="folder", errors="ignore")))
    return [csv, parquet, markdown]


def _for_parquet(table: pd.DataFrame) -> pd.DataFrame:
    """`table` with a type a column: what is mixed or nested becomes words."""
    import pandas as pd

    plain = {"string", "boolean", "integer", "floating"}
    objects = [name for name in table if table[name].dtype == object]
    mixed = [name for name in objects if pd.api.types.infer_dtype(table[name], skipna=True) not in plain]
    words = {name: [None if value is None else str(value) for value in table[name]] for name in mixed}
    return table.assign(**words).rename(columns=str)


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file; empty where the file is missing, cut short or holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _row(folder: Path) -> dict[str, Any]:
    point, status, result = (read_json(folder / name) for name in (POINT_FILE, STATUS_FILE, RESULT_FILE))
    damaged = _damaged(folder, point, status, result)
    # what a failed attempt had measured before it failed is not a result
    result = result if status.get("state") == "done" else {}
    label = _words(point, "label", folder.name)
    index = point.get("index")
    settings = _mapping(point, "settings")
    row = {
        "index": index if isinstance(index, int) else 0,
        "label": label,
        "variant": _words(point, "variant", label),
        "status": _words(status, "state", "waiting"),
        "why": _words(status, "why", ""),
        **{name: as_cell(value) for name, value in settings.items()},
    }
    if damaged:
        row["why"] = f"{' and '.join(damaged)} damaged: remove the folder, and the point runs again"
    for name, value in _flat(_mapping(result, "metrics")):
        # a notebook may repeat its parameters; a measured value never replaces what was asked for
        row[_column(name) if row.get(name, value) == value else f"measured_{name}"] = value
    seconds = status.get("seconds")
    row |= {"seconds": seconds if isinstance(seconds, int | float) else None}
    for name, value in _mapping(result, "environment").items():
        row[name if name not in settings else f"measured_{name}"] = as_cell(value)
    return row | {
        "started": _words(status, "started", None),
        "point": _words(point, "id", folder.name.rpartition("-")[2]),
        "folder": str(folder),
    }


def _damaged(folder: Path, point: Any, status: Any, result: Any) -> list[str]:
    """Which of a point's files are there and cannot be read, or do not hold what they should."""
    is_whole = {
        POINT_FILE: isinstance(point.get("settings"), dict),
        STATUS_FILE: isinstance(status.get("state"), str),
        RESULT_FILE: isinstance(result.get("metrics"), dict),
    }
    return [name for name, whole in is_whole.items() if not whole and (folder / name).exists()]


def _mapping(record: dict[str, Any], name: str) -> dict[str, Any]:
    """The mapping under `name` in what a file holds; empty where it is something else."""
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def _words(record: dict[str, Any], name: str, otherwise: str | None) -> str | None:
    found = record.get(name)
    return found if isinstance(found, str) else otherwise


def as_cell(value: Any) -> Any:
    """`value` as a cell of a table: a list or a mapping in words."""
    return str(value) if isinstance(value, list | dict) else value


def _flat(metrics: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The columns of `metrics` with their values; nested ones joined by ``_``."""
    for name, value in metrics.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}_")
        else:
            yield prefix + name, _number(value)


def _check_names(metrics: Mapping[str, Any]) -> None:
    names = Counter(_column(name) for name, _ in _flat(metrics))
    if twice := [name for name, count in names.items() if count > 1]:
        raise ResultError(f"two metrics would share the column {twice[0]}: give one of them another name")


def _column(name: str) -> str:
    return f"measured_{name}" if name in RESERVED else name


def _number(value: Any) -> Any:
    """`value`, as it was before JSON had to say it in a word."""
    return float(value) if isinstance(value, str) and value in ("inf", "-inf") else value
