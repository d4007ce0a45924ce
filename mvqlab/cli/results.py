"""The commands ``mvqlab results make | list``: the kept tables and pictures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mvqlab.cli.arguments import UsageError, add_arms, count
from mvqlab.results.columns import printable
from mvqlab.support.faults import in_one_line

KEPT = Path("results/reference")


def add_results(parser: argparse.ArgumentParser) -> None:
    """Add the commands to `parser`; each stores the function that runs it as `command`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    make = commands.add_parser("make", help="make a kept table or picture anew")
    make.add_argument("names", nargs="+", metavar="NAME", help="as `mvqlab results list` has them, or all")
    make.add_argument(
        "--out", type=Path, help=f"default: {KEPT}; with --model or --images it has to be given"
    )
    make.add_argument("--model", help="another shipped model, or the folder of a run")
    make.add_argument("--stage1", help="of samples from a run's folder: the folder of its stage 1")
    make.add_argument("--images", type=count, help="of tables: at most so many images, for a quick look")
    add_arms(make)
    make.set_defaults(command=_make)

    table = commands.add_parser("list", help="list what can be made, and of which models")
    table.set_defaults(command=_list)


def _make(options: argparse.Namespace) -> int:
    if options.out is None and (options.model or options.images):
        raise UsageError(f"{KEPT} holds what is kept: with --model or --images, give --out FOLDER")
    from mvqlab.gallery.kept import MADE, make

    wants_all = options.names == ["all"]
    failed = 0
    for name in MADE if wants_all else options.names:
        try:
            paths = make(name, options.out or KEPT, options.model, options.stage1, options.images)
        except Exception as error:
            said = in_one_line(error)
            if not wants_all or said is None:
                raise
            # the others can be made all the same
            print(f"mvqlab: {name}: {printable(said)}", file=sys.stderr)
            failed = 1
            continue
        for path in paths:
            print(f"{path} ({path.stat().st_size / 1024:.0f} KiB)")
    return failed


def _list(options: argparse.Namespace) -> int:
    from mvqlab.gallery.kept import MADE

    width, of_model = (max(map(len, names)) for names in (MADE, [made.model for made in MADE.values()]))
    for name, made in MADE.items():
        print(f"{name.ljust(width)}  {made.model.ljust(of_model)}  {made.what}")
    return 0
