"""Results: a point's folder, tables of many points, the paper's numbers, reference tables.

pandas takes long to import, and `mvqlab grid` often does without: what needs it imports it itself.
"""

from mvqlab.results.points import (
    POINT_FILE,
    RESULT_FILE,
    STATUS_FILE,
    TOLD,
    ResultError,
    as_cell,
    environment,
    load,
    parameter_names,
    read_json,
    save,
    to_latex,
    to_markdown,
    write_progress,
    write_result,
)
from mvqlab.results.summary import as_paper, compare, published, summarise

__all__ = [
    "POINT_FILE",
    "RESULT_FILE",
    "STATUS_FILE",
    "TOLD",
    "ResultError",
    "as_cell",
    "as_paper",
    "compare",
    "environment",
    "load",
    "parameter_names",
    "published",
    "read_json",
    "save",
    "summarise",
    "to_latex",
    "to_markdown",
    "write_progress",
    "write_result",
]
