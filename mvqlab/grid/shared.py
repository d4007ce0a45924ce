"""A stage 1 that points of a grid share: its name, its folder, how far it is, and what `--fresh` removes.

    results/<grid>/stage1/shapes-adaptive-0.5-seed-0-1f0c6d2a9b/

A training is known by the settings that it goes by, by the files of arms of one's own, and by mvqlab's
version. Points that need the same name the same folder; the first of them trains there
(`mvqlab.training.stage1_once`), and each keeps a copy of the weights in a folder of its own. So a finished
point needs the shared folder no more. Grids share, too, where one's file names the other in `shares_with`.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvqlab import __version__
from mvqlab.config import Config, DataConfig, MaskConfig, stage1_settings
from mvqlab.config.own_arms import arms_in_use
from mvqlab.support.locks import LOCK, HeldError, held, is_held
from mvqlab.support.saved_step import step_of

if TYPE_CHECKING:
    from mvqlab.grid.points import Point
    from mvqlab.grid.spec import Grid

WEIGHTS = "weights.safetensors"


def name_of_stage1(config: Config) -> str:
    """The name of the training that `config` needs, readable at its start: one for all who need the same."""
    settings = stage1_settings(config)
    words = [_data_in_words(settings.data), _mask_in_words(settings.mask), f"seed {settings.seed}"]
    arms = [arm.sha256 for arm in arms_in_use(settings)]
    identity = [settings.model_dump(mode="json"), __version__, *arms]
    return f"{slug(' '.join(words))}-{hash_of_settings(identity)}"


def folder_of_stage1(point: Point, store: Path) -> Path | None:
    """Where in `store` (`Grid.stage1_store`) the stage 1 lies that `point` shares, if it does."""
    return store / point.stage1 if point.stage1 else None


def is_trained(point: Point, store: Path) -> bool:
    """Whether the stage 1 that `point` shares has been trained to its last step."""
    folder = folder_of_stage1(point, store)
    step = None if folder is None else step_of(folder / WEIGHTS)
    return step is not None and step >= point.config["stage1"]["steps"]


def is_in_training(point: Point, store: Path) -> bool:
    """Whether any process is at work on the stage 1 that `point` shares, which is not finished."""
    folder = folder_of_stage1(point, store)
    return folder is not None and not is_trained(point, store) and is_held(folder / LOCK)


def first_of_each_stage1(points: Sequence[Point]) -> Iterator[Point]:
    """`points`, the first of those that share a stage 1 before the others, so that none waits for it."""
    seen: set[str] = set()
    later = []
    for point in points:
        if point.stage1 in seen:
            later.append(point)
            continue
        yield point
        seen |= {point.stage1} - {""}
    yield from later


def discard_stage1(
    chosen: Sequence[Point], everyone: Sequence[Point], grid: Grid, say: Callable[[str], object]
) -> None:
    """Remove the stage 1 of the points that are `chosen` to run afresh, so that they are trained anew, too.

    One that others of `everyone` name stays, and so does one that is being trained, and all that lie with
    another grid, `shares_with`: `say` is told of each.
    """
    if (owner := grid.content.shares_with) is not None:
        say(
            f"each stage 1 is kept: it lies with those of {owner}, where others may need it. "
            f"To train one anew, remove its folder in {grid.stage1_store}"
        )
        return
    is_chosen = {point.id for point in chosen}
    others: dict[str, list[str]] = {}
    for point in everyone:
        if point.id not in is_chosen:
            others.setdefault(point.stage1, []).append(str(point.index))
    for point in {point.stage1: point for point in chosen}.values():
        folder = folder_of_stage1(point, grid.stage1_store)
        if folder is None or not folder.is_dir():
            continue
        if point.stage1 in others:
            say(
                f"the stage 1 in {folder} is kept: {_named(others[point.stage1])} it, too. To train it anew, "
                "run these afresh as well, or remove that folder"
            )
            continue
        try:
            _empty(folder)
        except HeldError as error:
            say(f"the stage 1 is kept: {error}")


def slug(words: str) -> str:
    """`words` as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", words).strip("-.")[:60] or "point"


def hash_of_settings(identity: Any) -> str:
    """Ten hexadecimal digits that stand for `identity`, plain values."""
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _data_in_words(data: DataConfig) -> str:
    return data.set or data.name


def _mask_in_words(mask: MaskConfig) -> str:
    low, high = mask.ratio_range
    ratio = f"{low:g}" if low == high else f"{low:g} to {high:g}"
    return "plain" if mask.kind == "none" else f"{mask.kind} {ratio}"


def _named(indices: Sequence[str], most: int = 10) -> str:
    words = ", ".join(indices[:most]) + ", ..." * (len(indices) > most)
    return f"point {words} uses" if len(indices) == 1 else f"points {words} use"


def _empty(folder: Path) -> None:
    """Remove all that is in `folder` but its lock. Raises HeldError if another process holds that."""
    with held(folder / LOCK, f"another process is training in {folder}"):
        for path in folder.iterdir():
            if path.name == LOCK:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
