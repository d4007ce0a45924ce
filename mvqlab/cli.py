"""The command line: ``mvqlab grid run FILE``, ``mvqlab train``, ``mvqlab doctor`` and the rest.

Whatever takes long to import is imported by the command that needs it: `mvqlab --help` is quick.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mvqlab import __version__


class UsageError(ValueError):
    """The command line asks for something that cannot be."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code: 2 where what was asked for is at fault, 130 after Ctrl-C.

    Errors that mvqlab raises for people are printed as one message; others keep their traceback.
    """
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest:
        # argparse takes settings on one side of the options only
        if not hasattr(options, "overrides") or any(word.startswith("-") for word in rest):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        options.overrides = [*options.overrides, *rest]
    try:
        return options.command(options)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except Exception as error:
        if not is_for_people(error):
            raise
        print(f"mvqlab: {error}", file=sys.stderr)
        return 2


def is_for_people(error: Exception) -> bool:
    """Whether the error's message says what to do, so that a traceback would only hide it."""
    # a loss that is not finite is reported with Python's own exception
    is_ours = type(error).__module__.split(".")[0] == "mvqlab"
    # the system's refusals name the file and the reason: a full disk, a folder that may not be written
    is_refusal = isinstance(error, OSError) and error.filename is not None
    return is_ours or is_refusal or isinstance(error, FloatingPointError)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each stores the function that runs it as `command`."""
    parser = argparse.ArgumentParser(
        prog="mvqlab", description="Masked vector quantisation: train, sample, measure, compare."
    )
    parser.add_argument("--version", action="version", version=f"mvqlab {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_grid(commands.add_parser("grid", help="run the points of an ablation and collect their results"))
    _add_train(commands.add_parser("train", help="train one model without a notebook"))

    _add_import(commands.add_parser("import-official", help="turn a checkpoint of the authors into runs"))

    presets = commands.add_parser("presets", help="list the presets")
    presets.set_defaults(command=_presets)
    doctor = commands.add_parser("doctor", help="check the installation and the weights it can use")
    doctor.set_defaults(command=_doctor)
    bench = commands.add_parser("bench", help="measure speed against the slow ways")
    bench.add_argument("suites", nargs="*", help="which suites; all by default")
    bench.set_defaults(command=_bench)
    return parser


def _add_grid(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    plan = commands.add_parser("plan", help="show every point and what is left; run nothing")
    plan.add_argument("file", type=Path, help="the grid file")
    plan.set_defaults(command=_grid_plan)

    run = commands.add_parser("run", help="run the points that are not done")
    run.add_argument("file", type=Path, help="the grid file")
    run.add_argument("--only", type=int, nargs="+", default=[], metavar="INDEX", help="these points only")
    run.add_argument("--fresh", action="store_true", help="run done points again, discarding their results")
    run.add_argument("--retry-failed", action="store_true", help="run the points again that failed before")
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

    one = commands.add_parser("run-one", help="run one point in this process (what a scheduler calls)")
    one.add_argument("file", type=Path, help="the grid file")
    one.add_argument("--index", type=int, required=True, help="which point, from 0 (see `grid plan`)")
    one.add_argument("--expect", default="", metavar="ID", help="refuse if the point's identity is not this")
    one.add_argument("--fresh", action="store_true", help="run it even if it is done")
    one.set_defaults(command=_grid_run_one)

    status = commands.add_parser("status", help="how far a running grid is, from any shell")
    status.add_argument("file", type=Path, help="the grid file")
    status.set_defaults(command=_grid_status)

    table = commands.add_parser("table", help="collect results: table, figures, where the notebooks are")
    table.add_argument("path", type=Path, help="the grid file, or a results folder")
    table.set_defaults(command=_grid_table)

    columns = commands.add_parser("columns", help="what the columns of a table mean")
    columns.set_defaults(command=_grid_columns)


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", default="shapes32", help="a preset's name or a YAML file")
    parser.add_argument("--stage", type=int, choices=(1, 2), required=True)
    parser.add_argument("--out", type=Path, help="folder of the run; default: results/<preset>/stage<N>")
    parser.add_argument("--stage1", type=Path, help="stage 2: the trained stage 1; default as for --out")
    parser.add_argument("--resume", action="store_true", help="go on where the run in the folder stopped")
    parser.add_argument("--fresh", action="store_true", help="train anew over the run in the folder")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, as mask.mask_ratio=0.75")
    parser.set_defaults(command=_train)


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="a file written by the authors' training script")
    parser.add_argument("out", type=Path, help="receives stage1/ and stage2/, whichever the file holds")
    parser.add_argument("--mask-ratio", type=float, default=0.75, help="share dropped; default: 0.75")
    parser.add_argument("--resolution", type=int, help="side of the images, pixels; default: told, or 256")
    parser.add_argument("--heads", type=int, help="of stage 2; default: one for each 64 channels")
    parser.add_argument("--first", choices=("code", "position"), default="code", help="default: code")
    parser.add_argument("--classes", type=int, help="of stage 2; default: told by the stage 1 inside")
    parser.add_argument("--strip", action="store_true", help="pass over objects that could run code")
    parser.set_defaults(command=_import_official)


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
        submit_grid(options.file, **points, resources=resources)
        return 0
    if resources:
        raise UsageError(f"--{next(iter(resources)).replace('_', '-')} is for --slurm, which was not given")
    from mvqlab.grid.runner import run_grid

    return run_grid(
        options.file,
        only=options.only,
        fresh=options.fresh,
        retry_failed=options.retry_failed,
        workers=options.workers,
    )


def _grid_run_one(options: argparse.Namespace) -> int:
    from mvqlab.grid.execute import run_point
    from mvqlab.grid.points import build_points, choose
    from mvqlab.grid.process import terminate_like_interrupt
    from mvqlab.grid.runner import BUSY
    from mvqlab.grid.spec import read_grid
    from mvqlab.grid.status import PointBusyError

    grid = read_grid(options.file)
    (point,) = choose(build_points(grid), [options.index], options.expect)
    with terminate_like_interrupt():
        try:
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


def _train(options: argparse.Namespace) -> int:
    from mvqlab.config import load_config

    config = load_config(options.preset, options.overrides)
    runs = Path("results") / Path(options.preset).stem
    folder = options.out or runs / f"stage{options.stage}"
    if (folder / "weights.safetensors").exists() and not (options.resume or options.fresh):
        raise UsageError(
            f"{folder} holds a trained model: --resume goes on with it, --fresh trains over it, "
            "--out FOLDER trains elsewhere"
        )
    from mvqlab.pretrained import require_all
    from mvqlab.training import load_stage1, train_stage1, train_stage2

    require_all(config)
    folder.mkdir(parents=True, exist_ok=True)  # says now, not after the training, that it cannot be
    if options.stage == 1:
        train_stage1(config, folder, resume=options.resume)
    else:
        source = options.stage1 or runs / "stage1"
        if source.resolve() == folder.resolve():
            raise UsageError(f"--out and --stage1 both name {folder}: stage 2 needs a folder of its own")
        stage1 = load_stage1(source)
        train_stage2(config, stage1, folder, resume=options.resume)
    print(f"trained: {folder}")
    return 0


def _import_official(options: argparse.Namespace) -> int:
    from mvqlab.interop import holds_stage2, read_state_dict, strip_checkpoint
    from mvqlab.training.official import import_official

    read = strip_checkpoint if options.strip else read_state_dict
    tensors = read(options.checkpoint)
    stage2 = {"heads": options.heads, "first": options.first, "n_classes": options.classes}
    folders = import_official(
        tensors,
        options.out,
        mask_ratio=options.mask_ratio,
        resolution=options.resolution,
        **(stage2 if holds_stage2(tensors) else {}),
    )
    print(f"written: {', '.join(map(str, folders))}")
    return 0


def _presets(options: argparse.Namespace) -> int:
    from mvqlab.config import PRESET_FOLDER, preset_names

    for name in preset_names():
        first = (PRESET_FOLDER / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")[0]
        print(f"{name:<14} {first.removeprefix('#').strip() if first.startswith('#') else ''}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from mvqlab import doctor

    return doctor.main() or 0


def _bench(options: argparse.Namespace) -> int:
    from mvqlab import bench

    unknown = sorted(set(options.suites) - set(bench.SUITES))
    if unknown:
        raise UsageError(f"no suite '{', '.join(unknown)}'; there are {', '.join(bench.SUITES)}")
    bench.main(options.suites)
    return 0


if __name__ == "__main__":
    sys.exit(main())
