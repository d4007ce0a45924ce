"""The command ``mvqlab gpu``: what a machine with a GPU is asked for, stage by stage."""

from __future__ import annotations

import argparse
from pathlib import Path

from mvqlab.cli.arguments import positive

PACK = Path("results/gpu/data.pack.zip")


def add_gpu(parser: argparse.ArgumentParser) -> None:
    """Add the stages of ``mvqlab gpu`` to `parser`, each with the function that runs it as `command`."""
    stages = parser.add_subparsers(required=True, metavar="STAGE")
    check = stages.add_parser("check", help="does the card compute what the CPU does?")
    _add_common(check, 170.0)
    check.set_defaults(command=_check)
    bench = stages.add_parser("bench", help="how quick is it, beside what the card allows?")
    _add_common(bench, 170.0)
    bench.set_defaults(command=_bench)
    pack = stages.add_parser("pack", help="render what `train` learns from into one file; needs no GPU")
    pack.add_argument("pack", type=Path, nargs="?", default=PACK, help=f"the file; default: {PACK}")
    pack.set_defaults(command=_pack)
    train = stages.add_parser("train", help="train the models that ship, as well as the seconds allow")
    _add_train(train)
    train.set_defaults(command=_train)


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("seconds", type=positive, help="in all; at least half of them go to training")
    parser.add_argument("--pack", type=Path, default=PACK, help=f"from `mvqlab gpu pack`; default: {PACK}")
    parser.add_argument(
        "--out", type=Path, default=Path("results/gpu/runs"), help="default: results/gpu/runs"
    )
    parser.add_argument(
        "--results",
        type=Path,
        help="where the report goes; default: beside the bundles or, without them, results/gpu",
    )
    parser.add_argument("--bundles", type=Path, help="also write the runs here, as a few tar files")
    parser.add_argument("--device", help="cuda or, to try it out, cpu; default: cuda")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="models; by default all of the plan")
    parser.add_argument("--fresh", action="store_true", help="train over models that are there already")
    parser.add_argument("--compile", action="store_true", help="hand the blocks to torch.compile first")
    parser.add_argument("--set", nargs="+", default=[], metavar="key=value", help="settings, of every model")


def _add_common(parser: argparse.ArgumentParser, seconds: float) -> None:
    parser.add_argument("--out", type=Path, default=Path("results/gpu"), help="default: results/gpu")
    parser.add_argument("--device", help="cuda or, to try it out, cpu; default: cuda")
    parser.add_argument("--seconds", type=positive, default=seconds, help=f"in all; default: {seconds:.0f}")
    parser.add_argument("--toy", action="store_true", help="toy sizes, to try it out on a CPU")


def _check(options: argparse.Namespace) -> int:
    from mvqlab.gpu.check import check

    return check(options.out, options.device, options.seconds, options.toy)


def _bench(options: argparse.Namespace) -> int:
    from mvqlab.gpu.bench import bench

    return bench(options.out, options.device, options.seconds, options.toy)


def _pack(options: argparse.Namespace) -> int:
    from mvqlab.gpu.pack import write_pack

    print(f"written: {write_pack(options.pack)}")
    return 0


def _train(options: argparse.Namespace) -> int:
    from mvqlab.gpu.train import train

    return train(
        options.pack,
        options.out,
        options.seconds,
        options.device,
        only=options.only,
        overrides=options.set,
        bundles=options.bundles,
        compile_blocks=options.compile,
        fresh=options.fresh,
        results=options.results or options.bundles or Path("results/gpu"),
    )
