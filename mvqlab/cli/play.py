"""The command ``mvqlab play build``."""

from __future__ import annotations

import argparse
from pathlib import Path

FOLDER = Path("results/play")


def add_play(parser: argparse.ArgumentParser) -> None:
    """Add the command to `parser`; it stores the function that runs it as `command`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="build the page into a folder that any web server can serve")
    build.add_argument("--out", type=Path, default=FOLDER, help=f"default: {FOLDER}")
    build.add_argument("--models", nargs="+", metavar="NAME", help="shipped models; default: all of them")
    build.add_argument("--fresh", action="store_true", help="replace the page in that folder")
    build.set_defaults(command=_build)


def _build(options: argparse.Namespace) -> int:
    from mvqlab.play.build import build_page

    page = build_page(options.out, options.models, fresh=options.fresh, tell=print)
    megabytes = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file()) / 2**20
    print(f"written: {page} ({megabytes:.0f} MiB in all)")
    print(f"to look at it: python -m http.server --directory {options.out}")
    return 0
