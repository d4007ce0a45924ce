"""The commands ``mvqlab results make | list``: the kept pictures."""

from __future__ import annotations

import argparse
from pathlib import Path

from mvqlab.cli.arguments import UsageError

KEPT = Path("results/reference")


def add_results(parser: argparse.ArgumentParser) -> None:
    """Add the commands of kept pictures to `parser`; each stores the function that runs it as `command`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    make = commands.add_parser("make", help="make a kept picture anew")
    make.add_argument("names", nargs="+", metavar="NAME", help="as `mvqlab results list` has them, or all")
    make.add_argument("--out", type=Path, help=f"default: {KEPT}; with --model it has to be given")
    make.add_argument("--model", help="another shipped model, or the folder of a run")
    make.add_argument("--stage1", help="of samples from a run's folder: the folder of its stage 1")
    make.set_defaults(command=_make)

    table = commands.add_parser("list", help="list the pictures that can be made, and of which models")
    table.set_defaults(command=_list)


def _make(options: argparse.Namespace) -> int:
    if options.out is None and options.model is not None:
        raise UsageError(f"{KEPT} holds the pictures of their own models: with --model, give --out FOLDER")
    from mvqlab.gallery.pictures import MADE, make

    for name in MADE if options.names == ["all"] else options.names:
        for path in make(name, options.out or KEPT, options.model, options.stage1):
            print(f"{path} ({path.stat().st_size / 1024:.0f} KiB)")
    return 0


def _list(options: argparse.Namespace) -> int:
    from mvqlab.gallery.pictures import MADE

    width, of_model = (max(map(len, names)) for names in (MADE, [made.model for made in MADE.values()]))
    for name, made in MADE.items():
        print(f"{name.ljust(width)}  {made.model.ljust(of_model)}  {made.what}")
    return 0
