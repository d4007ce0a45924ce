"""Tables as files: CSV, Markdown and LaTeX that say what the cells say, whatever these hold; and read back.

Labels are people's own words. As they are, a `%` comments out the rest of a row in LaTeX, a `|` is one column
more in Markdown, and a spreadsheet computes what begins with `=`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvqlab.results.columns import as_text, heading, printable
from mvqlab.support.files import whole_file

if TYPE_CHECKING:
    import pandas as pd

LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\textquotedbl{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        **{sign: f"{{{sign}}}" for sign in "[]*"},  # the end of a row takes what begins the next
    }
)
MARKDOWN = str.maketrans({"\\": r"\\", "|": r"\|", "<": r"\<"})
FORMULA = tuple("=+-@")  # what a spreadsheet computes, where a cell begins with it


class TableError(ValueError):
    """A file is no table that can be read. The message says which, and what is wrong with it."""


def read_csv(path: str | Path) -> pd.DataFrame:
    """The table in the CSV file at `path`.

    Raises TableError where it is empty, damaged or not UTF-8, OSError where it cannot be opened.
    """
    import pandas as pd

    try:
        return pd.read_csv(path)
    except UnicodeDecodeError:
        raise TableError(f"{path} is not UTF-8 text: save the table as CSV in UTF-8") from None
    except ValueError as error:  # pandas' own are such, too
        said = " ".join(str(error).split())
        raise TableError(
            f"{path} cannot be read as a table ({said}): it needs a line of names, then a line a row, and "
            "every quote closed"
        ) from None


def beside_others(rows: pd.DataFrame, path: Path, by: Sequence[str]) -> pd.DataFrame:
    """What the table at `path` holds of others, then `rows`: it keeps what has other values in `by`.

    `rows` alone where there is no such table. Raises TableError as `check_has_columns` does.
    """
    import pandas as pd

    check_has_columns(path, by)
    if not path.exists():
        return rows
    kept = read_csv(path)
    mine = set(rows[list(by)].itertuples(index=False, name=None))
    is_other = [values not in mine for values in kept[list(by)].itertuples(index=False, name=None)]
    return pd.concat([kept[is_other], rows], ignore_index=True) if any(is_other) else rows


def check_has_columns(path: Path, names: Sequence[str]) -> None:
    """Raise TableError if there is a file at `path` that is no table, or one without these columns."""
    missing = [name for name in names if path.exists() and name not in read_csv(path)]
    if missing:
        raise TableError(f"{path} has no column {', '.join(missing)}: move it away, or name another folder")


def write_csv(table: pd.DataFrame, path: str | Path) -> Path:
    """Write `table` with all digits, whole; text that begins like a formula gets a ``'`` before it."""
    with whole_file(path) as temporary:
        _for_csv(table).to_csv(temporary, index=False)
    return Path(path)


def as_markdown(table: pd.DataFrame) -> str:
    """`table` as a Markdown table: units in its headings, numbers rounded as `columns.as_text` does."""
    rows = [_headings(table), ["---"] * len(table.columns), *_rows(table)]
    return "\n".join("| " + " | ".join(row) + " |" for row in _translated(rows, MARKDOWN))


def as_latex(table: pd.DataFrame) -> str:
    """The same as a LaTeX `tabular` with the rules of the package booktabs; numbers to the right."""
    import pandas as pd

    head, *rows = (" & ".join(row) + r" \\" for row in _translated([_headings(table), *_rows(table)], LATEX))
    sides = "".join("r" if pd.api.types.is_numeric_dtype(kind) else "l" for kind in table.dtypes)
    begin, end = rf"\begin{{tabular}}{{{sides}}}", r"\end{tabular}"
    return "\n".join([begin, r"\toprule", head, r"\midrule", *rows, r"\bottomrule", end, ""])


def _headings(table: pd.DataFrame) -> list[str]:
    return [printable(heading(name)) for name in table]


def _rows(table: pd.DataFrame) -> list[list[str]]:
    columns = [[as_text(name, value) for value in table.iloc[:, place]] for place, name in enumerate(table)]
    return [list(row) for row in zip(*columns, strict=True)]


def _translated(rows: Sequence[Sequence[str]], signs: dict[int, str]) -> list[list[str]]:
    return [[cell.translate(signs) for cell in row] for row in rows]


def _for_csv(table: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    # only words are looked at: a column of numbers is written as it is, however long
    columns = [table.iloc[:, place] for place in range(len(table.columns))]
    safe = [column if column.dtype.kind in "biufcM" else column.map(_csv_cell) for column in columns]
    return pd.concat(safe, axis=1).set_axis([_csv_cell(name) for name in table], axis=1) if safe else table


def _csv_cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.lstrip().startswith(FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
