"""Results of runs: written whole by the notebook of a point, read back as one tidy table, a row a point.

    write_result(output, {"psnr": 21.3, "codebook_perplexity": 57})      # a notebook's last act
    table = load("results/quickstart")                                    # everybody else's first

A point's folder holds point.json (what was asked), status.json (how it went) and result.json (what came out).
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvqlab import __version__
from mvqlab.columns import COLUMNS, as_text, heading
from mvqlab.files import whole_file, write_text_whole
from mvqlab.memory import peak_process_memory
from mvqlab.progress import PROGRESS_FILE
from mvqlab.summary import as_paper, compare, published, summarise
from mvqlab.threads import threads_named

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ResultError",
    "as_paper",
    "compare",
    "environment",
    "load",
    "parameter_names",
    "published",
    "read_json",
    "save",
    "summarise",
    "to_markdown",
    "write_progress",
    "write_result",
]

POINT_FILE = "point.json"
STATUS_FILE = "status.json"
RESULT_FILE = "result.json"


class ResultError(ValueError):
    """A result cannot be stored, or there is none to read."""


def write_result(folder: str | Path, metrics: Mapping[str, Any]) -> None:
    """Write `metrics` and what they were computed with to `folder`, whole: a notebook's last act.

    Metrics are numbers, words, lists or nested mappings of them; NumPy and torch scalars are turned into
    plain numbers. Nothing is written where `folder` is empty, as in a notebook opened by hand.

    Raises ResultError, naming the entry that cannot be stored.
    """
    if not str(folder):
        return
    record = {"metrics": _plain(dict(metrics), "metrics"), "environment": environment()}
    write_text_whole(Path(folder) / RESULT_FILE, json.dumps(record, indent=1, allow_nan=False))


def write_progress(folder: str | Path, stage: str, step: int, steps: int, **values: float) -> None:
    """Tell a watching grid how far a notebook is: ``write_progress(output, "sampling", 3, 10)``.

    Nothing is written where `folder` is empty.
    """
    if not str(folder):
        return
    state = {"stage": stage, "step": step, "steps": steps, **values}
    write_text_whole(Path(folder) / PROGRESS_FILE, json.dumps(state))


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
    folder = Path(__file__).parent

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

    points = sorted(Path(folder).glob(f"*/{POINT_FILE}"))
    if not points:
        raise ResultError(f"no results under {folder}: no point of a grid has run there yet")
    rows = sorted((_row(path.parent) for path in points), key=lambda row: (row["index"], row["label"]))
    table = pd.DataFrame(rows).drop(columns="index")
    return table.assign(started=pd.to_datetime(table["started"], utc=True, errors="coerce"))


def parameter_names(folder: str | Path) -> list[str]:
    """The columns of `load(folder)` that are parameters of its points."""
    points = [read_json(path) for path in sorted(Path(folder).glob(f"*/{POINT_FILE}"))]
    return list(dict.fromkeys(name for point in points for name in point.get("settings", {})))


def to_markdown(table: pd.DataFrame) -> str:
    """`table` as a Markdown table with units in its headings, then the meaning of each known column."""
    lines = [_markdown_row([heading(name) for name in table]), _markdown_row(["---"] * len(table.columns))]
    lines += [
        _markdown_row([as_text(name, value) for name, value in row.items()])
        for row in table.to_dict(orient="records")
    ]
    meanings = [f"- `{name}`: {COLUMNS[name].meaning}" for name in table if name in COLUMNS]
    return "\n".join([*lines, "", *meanings, ""])


def save(table: pd.DataFrame, folder: str | Path) -> list[Path]:
    """Write `table` to table.csv and table.parquet (all digits) and table.md (rounded); returns the paths."""
    csv, parquet, markdown = (Path(folder) / f"table.{kind}" for kind in ("csv", "parquet", "md"))
    with whole_file(csv) as path:
        table.to_csv(path, index=False)
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
    return table.assign(**words)


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file; empty where the file is missing, cut short or holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _row(folder: Path) -> dict[str, Any]:
    point, status = read_json(folder / POINT_FILE), read_json(folder / STATUS_FILE)
    # what a failed attempt had measured before it failed is not a result
    result = read_json(folder / RESULT_FILE) if status.get("state") == "done" else {}
    row = {
        "index": point.get("index", 0),
        "label": point.get("label", folder.name),
        "variant": point.get("variant", point.get("label", folder.name)),
        "status": status.get("state", "waiting"),
        "why": status.get("why", ""),
        **{name: as_cell(value) for name, value in point.get("settings", {}).items()},
    }
    for name, value in _flat(result.get("metrics", {})).items():
        # a notebook may repeat its parameters; a measured value never replaces what was asked for
        row[name if row.get(name, value) == value else f"measured_{name}"] = value
    row |= {"seconds": status.get("seconds")} | result.get("environment", {})
    return row | {"started": status.get("started"), "point": point.get("id"), "folder": str(folder)}


def as_cell(value: Any) -> Any:
    """`value` as a cell of a table: a list or a mapping in words."""
    return str(value) if isinstance(value, list | dict) else value


def _flat(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}_")
        else:
            flat[prefix + name] = float(value) if value in ("inf", "-inf") else value
    return flat


def _plain(value: Any, where: str) -> Any:
    """`value` as JSON can hold it: NaN as null, infinities as words."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, f"{where}.{key}") for key, inner in value.items()}
    if isinstance(value, str | bool | int | None):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if isinstance(value, Path):
        return str(value)
    if _holds_one_number(value):
        return _plain(value.item(), where)
    if isinstance(value, Sequence):
        return [_plain(inner, f"{where}[{place}]") for place, inner in enumerate(value)]
    raise ResultError(
        f"{where} is a {type(value).__name__}, which a result cannot hold: "
        "give numbers, words, or lists and mappings of them; keep arrays in a file of their own"
    )


def _holds_one_number(value: Any) -> bool:
    """Whether `value` is a NumPy scalar or a torch tensor or array of one element."""
    count = value.numel() if hasattr(value, "numel") else getattr(value, "size", 0)
    return hasattr(value, "item") and count == 1


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
