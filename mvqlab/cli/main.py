"""The command line: ``mvqlab grid run FILE``, ``mvqlab train``, ``mvqlab doctor`` and the rest."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mvqlab import __version__
from mvqlab.cli.arguments import UsageError, add_arms, count, positive
from mvqlab.cli.course import add_course
from mvqlab.cli.data import add_data
from mvqlab.cli.export import add_export
from mvqlab.cli.gpu import add_gpu
from mvqlab.cli.grid import add_grid
from mvqlab.cli.play import add_play
from mvqlab.cli.power import add_power
from mvqlab.cli.results import add_results
from mvqlab.cli.sample import add_sample
from mvqlab.cli.verdicts import add_verdicts
from mvqlab.results.columns import printable
from mvqlab.support.faults import explained, in_one_line
from mvqlab.support.locks import LOCK, held

STATES = ("state.pt", "state.previous.pt")  # of a run: from either it goes on


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code: 2 where what was asked for is at fault, 130 after Ctrl-C.

    Errors that mvqlab raises for people are printed as one message; others keep their traceback.
    """
    parser = build_parser()
    words = list(sys.argv[1:] if arguments is None else arguments)
    for word in words:
        # such a word would only fail where it is printed or written down, after a training, say
        if not word.isascii() and any("\ud800" <= letter <= "\udfff" for letter in word):
            shown = word.encode("ascii", "backslashreplace").decode()
            parser.error(f"not UTF-8: '{shown}': rename the file, or write the word in UTF-8")
    options, rest = parser.parse_known_args(words)
    if rest:
        # argparse takes settings on one side of the options only
        if not hasattr(options, "overrides") or any(word.startswith("-") for word in rest):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        options.overrides = [*options.overrides, *rest]
    try:
        if hasattr(options, "arms"):
            _use_arms(options.arms)
        code = options.command(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever reads has enough, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python flushes into it at the end
        return 1
    except Exception as error:
        said = in_one_line(error)
        if said is None:
            raise
        said += _how_to_go_on(sys.argv[1:] if arguments is None else arguments, options, error)
        with suppress(OSError):  # where the disk is full, a log may be, too
            print(f"mvqlab: {printable(said)}", file=sys.stderr)
        return 2


def _use_arms(files: Sequence[Path]) -> None:
    """Run the files of arms that were given or that the environment names, before anything asks for one."""
    if files or os.environ.get("MVQLAB_ARMS"):
        from mvqlab.config.own_arms import use_arms

        use_arms(files)


def _how_to_go_on(arguments: Sequence[str], options: argparse.Namespace, error: Exception) -> str:
    """The command by which a training goes on that the machine cut short; empty for all else."""
    if explained(error) is None or not getattr(options, "run", None):
        return ""
    if not any(os.path.exists(options.run / name) for name in STATES):  # a name too long is none
        return ""
    again = [word for word in arguments if word not in ("--fresh", "--resume")]
    return f"; then go on with: {shlex.join(['mvqlab', *again, '--resume'])}"


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each stores the function that runs it as `command`."""
    parser = argparse.ArgumentParser(
        prog="mvqlab", description="Masked vector quantisation: train, sample, measure, compare."
    )
    parser.add_argument("--version", action="version", version=f"mvqlab {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add_grid(commands.add_parser("grid", help="run the points of an ablation and collect their results"))
    _add_train(commands.add_parser("train", help="train one model without a notebook"))
    add_sample(commands.add_parser("sample", help="draw images with a trained model"))
    add_course(commands.add_parser("course", help="lay out, solve or grade the notebooks of the course"))
    add_data(commands.add_parser("data", help="fetch and list the data sets"))
    add_results(commands.add_parser("results", help="make the kept pictures anew"))
    add_power(commands.add_parser("power", help="how many seeds a comparison needs, by a kept table"))
    add_verdicts(commands.add_parser("verdicts", help="what the runs say of a protocol's hypotheses"))
    _add_explore(commands.add_parser("explore", help="open the widgets as a page in the browser"))
    add_play(commands.add_parser("play", help="the instruments as a static page that needs no server"))
    add_export(commands.add_parser("export", help="write a model as ONNX files, to run without PyTorch"))
    _add_import(commands.add_parser("import-official", help="turn a checkpoint of the authors into runs"))

    presets = commands.add_parser("presets", help="list the presets")
    presets.set_defaults(command=_presets)
    doctor = commands.add_parser("doctor", help="check the installation and the weights it can use")
    doctor.set_defaults(command=_doctor)
    _add_bench(commands.add_parser("bench", help="measure speed, or seconds until pictures are good"))
    add_gpu(commands.add_parser("gpu", help="on a machine with a GPU: check, measure and train there"))
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", default="shapes32", help="a preset's name or a YAML file")
    parser.add_argument("--stage", type=int, choices=(1, 2), required=True)
    parser.add_argument("--out", type=Path, help="folder of the run; default: results/<preset>/stage<N>")
    parser.add_argument("--stage1", type=Path, help="stage 2: the trained stage 1; default as for --out")
    parser.add_argument("--resume", action="store_true", help="go on where the run in the folder stopped")
    parser.add_argument("--fresh", action="store_true", help="train anew over the run in the folder")
    parser.add_argument(
        "--allow-changes",
        action="store_true",
        help="go on though the data or the stage 1 are others than before",
    )
    parser.add_argument(
        "--wandb",
        metavar="PROJECT",
        help="send curves there, to Weights & Biases; with WANDB_MODE=offline nothing leaves this machine",
    )
    add_arms(parser)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings, as mask.mask_ratio=0.75")
    parser.set_defaults(command=_train)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suites", nargs="*", help="which suites; default: all but quality")
    quality = parser.add_argument_group("quality: seconds of training until pictures are good")
    quality.add_argument("--data", nargs="+", metavar="PRESET", help="default: fashion32 simple32")
    quality.add_argument("--seconds", type=positive, help="of training, for each way at most; default: 900")
    quality.add_argument(
        "--set", action="append", dest="changes", metavar="key=value", help="change the recipe; may repeat"
    )
    quality.add_argument("--looks", type=count, help="evaluations of each way, at most; default: 30")
    quality.add_argument("--only", nargs="+", metavar="WAY", help="some of recipe, shapes32, peer")
    quality.add_argument("--out", type=Path, dest="folder", help="default: results/bench")
    parser.set_defaults(command=_bench)


def _add_explore(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=8866, help="the first that is tried; default: 8866")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument("--no-token", action="store_true", help="let in whoever knows the address")
    parser.add_argument(
        "--pages", type=count, default=8, help="that may be open at once, up to 0.7 GB each; default: 8"
    )
    parser.set_defaults(command=_explore)


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="a file written by the authors' training script")
    parser.add_argument("out", type=Path, help="receives stage1/ and stage2/, whichever the file holds")
    parser.add_argument("--mask-ratio", type=float, help="share dropped, 1 - topk_ratio; default: 0.75")
    parser.add_argument("--resolution", type=count, help="side of the images, pixels; default: told, or 256")
    parser.add_argument("--mask-init-value", type=float, help="of the de-masker; default: 0.02")
    parser.add_argument(
        "--reweight", action=argparse.BooleanOptionalAction, help="of the de-masker; default: no"
    )
    parser.add_argument("--heads", type=count, help="of stage 2; default: one for each 64 channels")
    parser.add_argument("--first", choices=("code", "position"), help="of a pair, in stage 2; default: code")
    parser.add_argument("--order", choices=("raster", "score"), help="of pairs, in stage 2; default: raster")
    parser.add_argument("--classes", type=count, help="of stage 2; default: told by the stage 1 inside")
    parser.add_argument("--strip", action="store_true", help="pass over objects that could run code")
    parser.set_defaults(command=_import_official)


def _train(options: argparse.Namespace) -> int:
    from mvqlab.config import load_config

    config = load_config(options.preset, options.overrides)
    runs = Path("results") / Path(options.preset).stem
    folder = options.run = options.out or runs / f"stage{options.stage}"
    if options.resume and options.fresh:
        raise UsageError("--resume goes on with a run, --fresh trains anew over it: give one of them")
    if options.stage == 1 and options.stage1 is not None:
        raise UsageError("--stage1 names the stage 1 that a stage 2 learns from: leave it out, or --stage 2")
    if (folder / LOCK).exists():
        with held(folder / LOCK, f"another process is training in {folder}"):
            pass  # who trains there is said before what lies there
    if not (options.resume or options.fresh):
        _check_free_for_training(folder, Path(options.preset))
    from mvqlab.support.pretrained import require_all
    from mvqlab.training import load_stage1, train_stage1, train_stage2
    from mvqlab.training.loggers import wandb_logger
    from mvqlab.training.origin import check_is_finished

    require_all(config)
    folder.mkdir(parents=True, exist_ok=True)  # says now, not after the training, that it cannot be
    how: dict[str, Any] = {"resume": options.resume, "allow_changes": options.allow_changes}
    if options.wandb:
        how["loggers"] = [wandb_logger(folder, options.wandb, config, resume=options.resume)]
    if options.stage == 1:
        train_stage1(config, folder, **how)
    else:
        source = options.stage1 or runs / "stage1"
        if source.resolve() == folder.resolve():
            raise UsageError(f"--out and --stage1 both name {folder}: stage 2 needs a folder of its own")
        stage1 = load_stage1(source)
        if not options.allow_changes:
            check_is_finished(source)
        train_stage2(config, stage1, folder, **how)
    print(f"trained: {folder}")
    return 0


def _check_free_for_training(folder: Path, preset: Path) -> None:
    what = {"weights.safetensors": "a trained model", **dict.fromkeys(STATES, "an unfinished run")}
    found = next((name for name in what if (folder / name).exists()), None)
    if found is not None:
        raise UsageError(
            f"{folder} holds {what[found]} ({found}): --resume goes on with it, --fresh trains over it, "
            "--out FOLDER trains elsewhere"
        )
    if preset.resolve() == (folder / "config.yaml").resolve():
        raise UsageError(
            f"{preset} is where the run in {folder} writes its own settings: --out FOLDER trains elsewhere, "
            "--fresh writes over it"
        )


def _explore(options: argparse.Namespace) -> int:
    if not 0 < options.port < 2**16:
        raise UsageError(f"--port goes from 1 to {2**16 - 1}, not {options.port}")
    from mvqlab.widgets.page_server import explore

    explore(options.port, not options.no_browser, not options.no_token, options.pages)
    return 0


def _import_official(options: argparse.Namespace) -> int:
    from mvqlab.interop import read_state_dict, strip_checkpoint
    from mvqlab.interop.runs import import_official

    read = strip_checkpoint if options.strip else read_state_dict
    names = ("mask_ratio", "resolution", "mask_init_value", "reweight", "heads", "first", "order")
    settings = {name: getattr(options, name) for name in names}
    runs = import_official(read(options.checkpoint), options.out, n_classes=options.classes, **settings)
    for remark in runs.remarks:
        print(remark)
    print(f"written: {', '.join(map(str, runs))}")
    return 0


def _presets(options: argparse.Namespace) -> int:
    from mvqlab.config import PRESET_FOLDER, preset_names

    for name in preset_names():
        first = (PRESET_FOLDER / f"{name}.yaml").read_text(encoding="utf-8").partition("\n")[0]
        print(f"{name:<14} {first.removeprefix('#').strip() if first.startswith('#') else ''}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from mvqlab.cli import doctor

    return doctor.main() or 0


def _bench(options: argparse.Namespace) -> int:
    from mvqlab import bench

    names = ("data", "seconds", "looks", "changes", "only", "folder")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    if options.suites == ["quality"]:
        from mvqlab.bench import quality

        words = {"data": "presets", "changes": "overrides"}
        quality.main(**{words.get(name, name): value for name, value in given.items()})
        return 0
    if given:
        raise UsageError(
            "--data, --seconds, --looks, --set, --only and --out belong to `mvqlab bench quality` alone"
        )
    bench.main(options.suites)
    return 0


if __name__ == "__main__":
    sys.exit(main())
