"""The command ``mvqlab export``."""

from __future__ import annotations

import argparse
from pathlib import Path

from mvqlab.cli.arguments import add_arms


def add_export(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``mvqlab export`` to `parser`, and the function that runs it as `command`."""
    parser.add_argument("model", help="a shipped model, or the folder of a run")
    parser.add_argument("--out", type=Path, help="default: results/onnx/NAME")
    parser.add_argument("--stage1", type=Path, help="for a run of stage 2: the run of its stage 1")
    parser.add_argument("--fresh", action="store_true", help="replace what an export left there")
    add_arms(parser)
    parser.set_defaults(command=_export)


def _export(options: argparse.Namespace) -> int:
    from mvqlab.zoo.exported import CARD, export_by_name

    folder = options.out or Path("results/onnx") / Path(options.model).name
    card = export_by_name(options.model, folder, options.stage1, fresh=options.fresh)
    for file, known in card["files"].items():
        print(f"{folder / file} ({known['bytes'] / 1024:.0f} KiB)")
    print(f"written: {folder / CARD}")
    return 0
