"""The command ``mvqlab sample``."""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from pathlib import Path

from mvqlab.cli.arguments import UsageError, add_arms
from mvqlab.support.files import free_name, new_folder

DEFAULT_MODEL = "fashion_stackformer"
DEFAULT_FOLDER = Path("results/samples")
FILTERS = {
    "temperature": "0 takes the likeliest; default: the model's own, as for all below",
    "code_top_k": "draw codes from the k likeliest; 0 is off",
    "code_top_p": "draw codes from the fewest that reach this probability",
    "position_top_k": "the same for positions",
    "position_top_p": "the same for positions",
    "guidance": "classifier-free guidance of codes and positions; 1 is off",
    "code_guidance": "of codes alone",
    "position_guidance": "of positions alone",
    "parallel_steps": "of a masked parallel model: steps in which all places are filled",
}


def add_sample(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``mvqlab sample`` to `parser`, and the function that runs it as `command`."""
    parser.add_argument("-n", type=int, default=16, help="images; default: 16")
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help=f"{', '.join(shipped_transformers())}, or a run of stage 2; default: {DEFAULT_MODEL}",
    )
    parser.add_argument("--stage1", type=Path, help="for a run of stage 2: the run of its stage 1")
    parser.add_argument(
        "--allow-changes",
        action="store_true",
        help="draw though that stage 1 is not the one it was trained on",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first image; default: 0")
    parser.add_argument("--class", dest="class_name", help="name or number (sneaker); default: each in turn")
    parser.add_argument("--caption", help="what to draw, for a model of captions")
    parser.add_argument("--complete", type=Path, metavar="IMAGE", help="draw anew what lies outside --keep")
    parser.add_argument("--keep", metavar="TOP,LEFT,BOTTOM,RIGHT", help="in regions, ends left out: 0,0,8,4")
    for name, meaning in FILTERS.items():
        kind = int if name.endswith(("top_k", "steps")) else float
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=meaning)
    parser.add_argument(
        "--out",
        type=Path,
        help=f"a folder without samples; default: the first free of {DEFAULT_FOLDER}, {DEFAULT_FOLDER}-2 ...",
    )
    parser.add_argument("--fresh", action="store_true", help="replace the samples in the folder of --out")
    add_arms(parser)
    parser.set_defaults(command=_sample)


def _sample(options: argparse.Namespace) -> int:
    from mvqlab.models.caption_tokenizer import CaptionWarning
    from mvqlab.zoo.by_name import prepare
    from mvqlab.zoo.drawn import check_free

    if options.fresh and options.out is None:
        raise UsageError("--fresh replaces the samples in the folder that --out names, and none is named")
    settings = {name: getattr(options, name) for name in FILTERS}
    with warnings.catch_warnings():
        warnings.simplefilter("always", CaptionWarning)
        warnings.showwarning = _say  # type: ignore[assignment]  # it needs the first argument only
        draw = prepare(
            options.n,
            options.model,
            stage1=options.stage1,
            allow_changes=options.allow_changes,
            seed=options.seed,
            first=options.first,
            class_name=options.class_name,
            caption=options.caption,
            complete=options.complete,
            keep=None if options.keep is None else _corners(options.keep),
            **{name: value for name, value in settings.items() if value is not None},
        )
    check_free(options.out or free_name(DEFAULT_FOLDER), options.fresh)
    drawn = draw()
    # not before it is needed: another process may have taken the name that was free when drawing began
    folder = options.out or new_folder(DEFAULT_FOLDER)
    n = len(drawn.images)
    print(f"written: {drawn.save(folder, options.fresh)} ({n} image{'' if n == 1 else 's'})")
    return 0


def shipped_transformers() -> list[str]:
    """Names of the shipped models that draw, read from their cards without loading anything."""
    cards = sorted((Path(__file__).parents[1] / "zoo" / "checkpoints").glob("*/card.yaml"))
    return [
        path.parent.name for path in cards if re.search(r"^stage: 2$", path.read_text(encoding="utf-8"), re.M)
    ]


def _say(warning: Warning | str, *_: object) -> None:
    print(f"mvqlab: {warning}", file=sys.stderr)


def _corners(words: str) -> tuple[int, ...]:
    parts = words.split(",")
    if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"--keep takes top,left,bottom,right in regions, such as 0,0,8,4, not '{words}'")
    return tuple(int(part) for part in parts)
