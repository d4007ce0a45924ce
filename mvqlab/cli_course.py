"""The commands ``mvqlab course solve | grade | book``."""

from __future__ import annotations

import argparse
from pathlib import Path

from mvqlab.usage import positive


def add_course(parser: argparse.ArgumentParser) -> None:
    """Add the commands of the course to `parser`; each stores the function that runs it as `command`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    solve = commands.add_parser("solve", help="write a notebook with its exercises solved")
    solve.add_argument("notebook", type=Path, help="a notebook of the course")
    solve.add_argument("out", type=Path, help="where the solved one is written")
    solve.add_argument("--fresh", action="store_true", help="replace what is there")
    solve.set_defaults(command=_solve)

    grade = commands.add_parser("grade", help="run handed-in notebooks and count what is right")
    grade.add_argument("notebook", type=Path, help="the notebook of the course, as it was handed out")
    grade.add_argument("folder", type=Path, help="a folder of handed-in copies; folders inside are searched")
    grade.add_argument("--out", type=Path, help="the table, as CSV; default: FOLDER/grades.csv, or -2 ...")
    grade.add_argument("--minutes", type=positive, default=5.0, help="time for one cell; default: 5")
    grade.set_defaults(command=_grade)

    book = commands.add_parser("book", help="run the lessons and render them as a static site")
    book.add_argument("--notebooks", type=Path, default=Path("notebooks"), help="default: notebooks")
    book.add_argument("--out", type=Path, default=Path("results/book"), help="default: results/book")
    book.add_argument("--scale", choices=("quick", "full"), default="quick", help="default: quick")
    book.set_defaults(command=_book)


def _solve(options: argparse.Namespace) -> int:
    from mvqlab.course import solve_file

    print(f"written: {solve_file(options.notebook, options.out, options.fresh)}")
    return 0


def _grade(options: argparse.Namespace) -> int:
    from mvqlab.course import grade_folder
    from mvqlab.files import free_name
    from mvqlab.tables import as_markdown

    out = options.out or free_name(options.folder / "grades.csv")
    table = grade_folder(options.notebook, options.folder, out, seconds=60.0 * options.minutes)
    print(as_markdown(table))
    print(f"written: {out}")
    return 0


def _book(options: argparse.Namespace) -> int:
    from mvqlab.book import build_book

    print(f"written: {build_book(options.notebooks, options.out, options.scale)}")
    return 0
