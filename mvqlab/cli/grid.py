"""The commands ``mvqlab grid plan | run | run-one | status | table | columns``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mvqlab.cli.arguments import UsageError, add_arms

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # argparse has no public name for it

GRID = "the grid file, or the name of one of the lab's: quickstart"


def add_grid(parser: argparse.ArgumentParser) -> None:
    """Add the commands of a grid to `parser`; each stores the function that runs it as `command`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    reading_settings = [add(commands) for add in (_add_plan, _add_run, _add_run_one, _add_status, _add_table)]
    for command in reading_settings:
        add_arms(command)
    columns = commands.add_parser("columns", help="what the columns of a table mean")
    columns.set_defaults(command=_grid_columns)


def _add_plan(commands: Commands) -> argparse.ArgumentParser:
    plan = commands.add_parser("plan", help="show every point and what is left; run nothing")
    plan.add_argument("file", type=Path, help=GRID)
    plan.set_defaults(command=_grid_plan)
    return plan


def _add_run(commands: Commands) -> argparse.ArgumentParser:
    run = commands.add_parser(
        "run",
        help="run the points that are not done",
        epilog="exit code: 0 all these points are done, 1 a point failed, 2 the grid is not fit to run, "
        "75 none failed but another process is running one, 130 stopped",
    )
    run.add_argument("file", type=Path, help=GRID)
    run.add_argument("--only", type=int, nargs="+", default=[], metavar="INDEX", help="these points only")
    run.add_argument(
        "--fresh",
        action="store_true",
        help="run done points again, discarding their results, and their stage 1, too, unless points that do "
        "not run again share it: then it is kept, and that is said",
    )
    run.add_argument("--retry-failed", action="store_true", help="run the points again that failed before")
    run.add_argument(
        "--done-in",
        type=Path,
        nargs="+",
        default=[],
        metavar="TABLE",
        help="what is done in these tables (table.csv), which another machine has run, does not run here",
    )
    slurm = run.add_argument_group("on a cluster")
    slurm.add_argument("--slurm", action="store_true", help="submit the points as a SLURM array and return")
    slurm.add_argument("--partition", help="these go before what the grid file says under `slurm`")
    slurm.add_argument("--minutes", type=int, help="time of a point")
    slurm.add_argument("--memory-gb", type=float)
    slurm.add_argument("--cpus", type=int)
    slurm.add_argument("--gpus", type=int)
    slurm.add_argument("--parallel", type=int, help="points at a time")
    run.add_argument("--workers", type=int, default=1, metavar="N", help="points at a time; default: 1")
    run.set_defaults(command=_grid_run)
    return run


def _add_run_one(commands: Commands) -> argparse.ArgumentParser:
    one = commands.add_parser(
        "run-one",
        help="run one point in this process (what a scheduler calls)",
        epilog="exit code: 0 it is done, 1 it failed (its status.json says why), 2 the grid is not fit to "
        "run, 75 another process is running it, 130 stopped. It waits for the "
        "stage 1 that it needs where another process is training that",
    )
    one.add_argument("file", type=Path, help=GRID)
    one.add_argument("--index", type=int, required=True, help="which point, from 0 (see `grid plan`)")
    one.add_argument("--expect", default="", metavar="ID", help="refuse if the point's identity is not this")
    one.add_argument(
        "--fresh",
        action="store_true",
        help="run it even if it is done, and train its stage 1 anew unless other points share it",
    )
    one.set_defaults(command=_grid_run_one)
    return one


def _add_status(commands: Commands) -> argparse.ArgumentParser:
    status = commands.add_parser(
        "status",
        help="how far a running grid is, from any shell",
        epilog="exit code: 0, whatever the points' states are: it only looks",
    )
    status.add_argument("file", type=Path, help=GRID)
    status.set_defaults(command=_grid_status)
    return status


def _add_table(commands: Commands) -> argparse.ArgumentParser:
    table = commands.add_parser("table", help="collect results: table, figures, where the notebooks are")
    table.add_argument("path", type=Path, help=f"{GRID}, or a results folder")
    table.set_defaults(command=_grid_table)
    return table


def _grid_plan(options: argparse.Namespace) -> int:
    from mvqlab.grid.report import print_plan

    print_plan(options.file)
    return 0


def _grid_run(options: argparse.Namespace) -> int:
    names = ("partition", "minutes", "memory_gb", "cpus", "gpus", "parallel")
    resources = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.slurm:
        from mvqlab.grid.slurm import submit_grid

        if options.workers != 1:
            raise UsageError("--workers is for this machine; on a cluster --parallel says how many at a time")
        points = {"only": options.only, "fresh": options.fresh, "retry_failed": options.retry_failed}
        submit_grid(options.file, **points, done_in=options.done_in, resources=resources)
        return 0
    if resources:
        raise UsageError(f"--{next(iter(resources)).replace('_', '-')} is for --slurm, which was not given")
    from mvqlab.grid.runner import run_grid

    return run_grid(
        options.file,
        only=options.only,
        fresh=options.fresh,
        retry_failed=options.retry_failed,
        done_in=options.done_in,
        workers=options.workers,
    )


def _grid_run_one(options: argparse.Namespace) -> int:
    from mvqlab.grid.execute import run_point
    from mvqlab.grid.points import build_point, build_points
    from mvqlab.grid.process import terminate_like_interrupt
    from mvqlab.grid.runner import BUSY, CHANGED
    from mvqlab.grid.shared import discard_stage1
    from mvqlab.grid.spec import ChangedGridError, read_grid
    from mvqlab.grid.status import PointBusyError, hold_point

    grid = read_grid(options.file)
    try:
        point = build_point(grid, options.index, options.expect)
    except ChangedGridError as error:
        print(error, file=sys.stderr)
        return CHANGED
    with terminate_like_interrupt():
        try:
            if options.fresh and not options.expect:  # who expects a point has done so for all that it starts
                with hold_point(point.folder(grid.results)):  # not under the hands of who runs it
                    discard_stage1([point], build_points(grid), grid, print)
            return 0 if run_point(grid, point, fresh=options.fresh) else 1
        except PointBusyError as error:
            print(error, file=sys.stderr)
            return BUSY


def _grid_status(options: argparse.Namespace) -> int:
    from mvqlab.grid.report import print_status

    print_status(options.file)
    return 0


def _grid_table(options: argparse.Namespace) -> int:
    from mvqlab.grid.report import print_table

    print_table(options.path)
    return 0


def _grid_columns(options: argparse.Namespace) -> int:
    from mvqlab.grid.report import print_columns

    print_columns()
    return 0
