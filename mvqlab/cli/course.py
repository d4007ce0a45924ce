"""The commands ``mvqlab course init | solve | grade | book``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mvqlab.cli.arguments import count, positive
from mvqlab.support.lab import here_or_in_lab

RISK = """\
Run handed-in notebooks and count what is right.

THIS RUNS THE STUDENTS' CODE ON THIS MACHINE, with what your account may do: read, write and delete its
files, use the network, end its processes. Use a container or an account of its own, with no secrets in it.

Protected: what a student prints, patches or writes decides nothing. Answers are taken out of the student's
process as plain data and compared in another, which never runs their code; functions are called with inputs
that the check chose. The table is kept, one copy does not stop the others, and what it started is ended.
Not protected, under one account: files of the installation and the solutions, where they lie on this
machine, can be read and changed; a process can end all others of its account; root can read any memory.
Time is limited on every system, memory by looking at it often; what one file may hold, and memory that is
taken at once, only where Python has the module `resource` (not on Windows)."""


def add_course(parser: argparse.ArgumentParser) -> None:
    """Add the commands of the course to `parser`; each stores the function that runs it as `command`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    init = commands.add_parser("init", help="lay the course out in a folder: notebooks, grids, kept results")
    init.add_argument("folder", type=Path, help="a new folder, or one without files of these names")
    init.add_argument("--lecturer", action="store_true", help="with solutions and the page for lecturers")
    init.add_argument("--fresh", action="store_true", help="replace files of these names")
    init.set_defaults(command=_init)

    solve = commands.add_parser("solve", help="write a notebook with its exercises solved")
    solve.add_argument("notebook", type=Path, help="a notebook of the course")
    solve.add_argument("out", type=Path, help="where the solved one is written")
    solve.add_argument("--fresh", action="store_true", help="replace what is there")
    solve.set_defaults(command=_solve)

    grade = commands.add_parser(
        "grade",
        help="run handed-in notebooks and count what is right",
        description=RISK,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    grade.add_argument("notebook", type=Path, help="the notebook of the course, as it was handed out")
    grade.add_argument("folder", type=Path, help="a folder of handed-in copies; folders inside are searched")
    grade.add_argument("--out", type=Path, help="the table, as CSV; default: FOLDER/grades.csv, or -2 ...")
    grade.add_argument("--minutes", type=positive, default=5.0, help="time for one cell; default: 5")
    grade.add_argument(
        "--jobs", type=count, default=0, help="copies that run side by side; default: one for two cores"
    )
    grade.add_argument("--gigabytes", type=positive, default=4.0, help="memory of one copy; default: 4")
    grade.set_defaults(command=_grade)

    book = commands.add_parser("book", help="run the lessons and render them as a static site")
    book.add_argument(
        "--notebooks", type=Path, default=Path("notebooks"), help="default: notebooks, here or as installed"
    )
    book.add_argument("--out", type=Path, default=Path("results/book"), help="default: results/book")
    book.add_argument("--scale", choices=("quick", "full"), default="quick", help="default: quick")
    book.add_argument("--no-play", action="store_true", help="leave out the page on which the models run")
    book.set_defaults(command=_book)


def _init(options: argparse.Namespace) -> int:
    from mvqlab.course.laid_out import lay_out

    written = lay_out(options.folder, options.lecturer, options.fresh)
    print(f"written: {len(written)} files; begin with: jupyter lab {options.folder / 'notebooks'}")
    return 0


def _solve(options: argparse.Namespace) -> int:
    from mvqlab.course.lecturer import solve_file

    print(f"written: {solve_file(options.notebook, options.out, options.fresh)}")
    return 0


def _grade(options: argparse.Namespace) -> int:
    from mvqlab.course.lecturer import grade_folder
    from mvqlab.results.table_files import as_markdown
    from mvqlab.support.files import free_name

    out = options.out or free_name(options.folder / "grades.csv")
    jobs = options.jobs or max(1, (os.cpu_count() or 1) // 2)
    seconds = 60.0 * options.minutes
    table = grade_folder(options.notebook, options.folder, out, seconds, jobs=jobs, memory=options.gigabytes)
    print(as_markdown(table))
    print(f"written: {out}")
    return 0


def _book(options: argparse.Namespace) -> int:
    from mvqlab.course.book import build_book

    notebooks, has_play = here_or_in_lab(options.notebooks), not options.no_play
    page = build_book(notebooks, options.out, options.scale, has_play)
    print(f"written: {page}; with excerpts in its search: python -m http.server -d {page.parent}")
    return 0
