"""The command ``mvqlab gpu``: what a machine with a GPU is asked for, stage by stage."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_gpu(parser: argparse.ArgumentParser) -> None:
    """Add the stages of ``mvqlab gpu`` to `parser`, each with the function that runs it as `command`."""
    stages = parser.add_subparsers(required=True, metavar="STAGE")
    check = stages.add_parser("check", help="does the card compute what the CPU does?")
    _add_common(check, 170.0)
    check.set_defaults(command=_check)
    bench = stages.add_parser("bench", help="how quick is it, beside what the card allows?")
    _add_common(bench, 170.0)
    bench.set_defaults(command=_bench)


def _add_common(parser: argparse.ArgumentParser, seconds: float) -> None:
    parser.add_argument("--out", type=Path, default=Path("results/gpu"), help="default: results/gpu")
    parser.add_argument("--device", help="cuda or cpu; default: cuda if there is one")
    parser.add_argument("--seconds", type=float, default=seconds, help=f"in all; default: {seconds:.0f}")
    parser.add_argument("--toy", action="store_true", help="toy sizes, to try it out on a CPU")


def _check(options: argparse.Namespace) -> int:
    from mvqlab.gpu.check import check

    return check(options.out, options.device, options.seconds, options.toy)


def _bench(options: argparse.Namespace) -> int:
    from mvqlab.gpu.bench import bench

    return bench(options.out, options.device, options.seconds, options.toy)
