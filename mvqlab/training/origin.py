"""What a run was trained on, kept with it: data by their hash, what labels mean, its stage 1, its arms.

    folder/trained_on.json

A run without the file is from before there was one, or came otherwise: what is unknown does not differ.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mvqlab.config import Config
from mvqlab.config.own_arms import versions_in_use
from mvqlab.data import Splits, class_names
from mvqlab.support.files import write_text_whole
from mvqlab.support.saved_step import step_of
from mvqlab.training.checkpoint import WEIGHTS, CheckpointError
from mvqlab.training.run_settings import load_settings

FILE_NAME = "trained_on.json"
HOW_TO_GO_ON = "--allow-changes (allow_changes=True) goes on nevertheless"


class ChangedArmWarning(UserWarning):
    """The file of an arm of one's own has changed since a run was trained with it."""


@dataclass(frozen=True)
class Origin:
    """What a run was trained on; None is unknown.

    data_hash: `Splits.data_hash`. n_images: for training. class_names: what labels meant, by number.
    stage1: of stage 2, `weights_hash` of the model whose codes it learned. skipped: the bad files that were
    left out, a line each. arms: of one's own, see `versions_in_use`; None where there are none.
    """

    data_hash: str | None = None
    n_images: int | None = None
    class_names: list[str] | None = None
    stage1: str | None = None
    skipped: list[str] | None = None
    arms: dict[str, dict[str, str]] | None = None

    def record(self) -> dict[str, Any]:
        """As plain words and numbers, for a file or a training state."""
        record = asdict(self)
        if self.arms is None:  # most runs have none, and say nothing of them
            del record["arms"]
        return record


def origin_of(
    splits: Splits, stage1: str | None = None, arms: dict[str, dict[str, str]] | None = None
) -> Origin:
    """The origin of a run that learns from `splits`, and from the codes of the model of hash `stage1`.

    arms: `versions_in_use`.
    """
    n_images, names = len(splits.train), list(splits.class_names)
    return Origin(splits.data_hash, n_images, names, stage1, list(splits.skipped), arms or None)


def save_origin(origin: Origin, folder: Path) -> None:
    """Write `origin` into the folder of a run."""
    write_text_whole(folder / FILE_NAME, json.dumps(origin.record(), indent=1, ensure_ascii=False) + "\n")


def load_origin(folder: Path | str) -> Origin:
    """What the run in `folder` was trained on. Raises CheckpointError where the file is damaged."""
    path = Path(folder) / FILE_NAME
    try:
        return read_origin(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Origin()
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}): restore it, or remove it to go on without knowing"
        ) from None


def read_origin(record: Any) -> Origin:
    """The origin in a `record`, unknown where it is None. Raises ValueError or TypeError."""
    if record is None:
        return Origin()
    origin = Origin(**record)
    names = origin.class_names
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError("class_names are no list of names")
    if origin.arms is not None and not all(
        isinstance(one.get("sha256"), str) for one in origin.arms.values()
    ):
        raise ValueError("arms are no files with their SHA-256")
    return origin


def origin_of_state(state: dict[str, Any]) -> Origin:
    """The origin that a training state was saved with. Raises KeyError, ValueError or TypeError.

    Older states of stage 2 know their stage 1 alone, those of stage 1 nothing.
    """
    record = state.get("trained_on")
    if record is None and state["stage"] == 2:
        record = {"stage1": state["stage1"]}
    return read_origin(record)


def check_same_origin(before: Origin, now: Origin, folder: Path, *, allow_changes: bool = False) -> None:
    """Raise CheckpointError, in one line, where a run in `folder` would go on with something else."""
    changes = _differences(before, now)
    if changes and not allow_changes:
        raise CheckpointError(f"the run in {folder} was trained on {'; '.join(changes)}: {HOW_TO_GO_ON}")


def warn_of_changed_arms(folder: Path, config: Config, places: Sequence[str]) -> None:
    """Warn (ChangedArmWarning) where an arm of one's own is not what the run in `folder` was trained with."""
    now = versions_in_use(config, places)
    changes = _changed_arms(load_origin(folder).arms or {}, now) if now else []
    if changes:
        words = f"the run in {folder} was trained on {'; '.join(changes)}: it may do something else by now"
        warnings.warn(words, ChangedArmWarning, stacklevel=3)


def check_stage1(folder: Path, stage1: str, *, allow_changes: bool = False) -> None:
    """Raise CheckpointError unless the stage 2 in `folder` was trained on the model of hash `stage1`."""
    check_same_origin(load_origin(folder), Origin(stage1=stage1), folder, allow_changes=allow_changes)


def check_is_finished(folder: Path | str, stage: int = 1) -> None:
    """Raise CheckpointError where the weights in `folder` are from before its training's last step."""
    folder = Path(folder)
    step = step_of(folder / WEIGHTS)
    if step is None:  # shipped, imported, or from before weights said so
        return
    wanted = getattr(load_settings(folder), f"stage{stage}").steps
    if step < wanted:
        raise CheckpointError(
            f"the run in {folder} is half-trained, {step} of {wanted} steps: finish it first (--resume), or "
            f"take it as it is: {HOW_TO_GO_ON}"
        )


def class_names_of(folder: Path, config: Config) -> list[str]:
    """What the labels of the run in `folder` meant when it was trained, which needs no data.

    Of a run that does not say, what they mean in the data of `config` now. Raises CheckpointError, DataError.
    """
    names = load_origin(folder).class_names
    return class_names(config.data) if names is None else names


def _differences(before: Origin, now: Origin) -> list[str]:
    """What `before` and `now` both know, and differ in, in words."""
    changes = []
    if None not in (before.class_names, now.class_names) and before.class_names != now.class_names:
        changes.append(f"classes {_listed(before.class_names)}, and they are {_listed(now.class_names)} now")
    elif None not in (before.data_hash, now.data_hash) and before.data_hash != now.data_hash:
        counts = f"{before.n_images} images, now {now.n_images}"
        changes.append(
            f"other data than there are now (hash {before.data_hash}, now {now.data_hash}; {counts})"
        )
    if None not in (before.stage1, now.stage1) and before.stage1 != now.stage1:
        changes.append(
            f"the codes of another stage 1 (hash {str(before.stage1)[:12]}, not {str(now.stage1)[:12]})"
        )
    return changes + _changed_arms(before.arms or {}, now.arms or {})


def _changed_arms(before: dict[str, dict[str, str]], now: dict[str, dict[str, str]]) -> list[str]:
    return [
        f"{key} as {before[key].get('file')} had it then (SHA-256 {before[key]['sha256'][:12]}, now "
        f"{now[key]['sha256'][:12]})"
        for key in now
        if key in before and before[key]["sha256"] != now[key]["sha256"]
    ]


def _listed(names: list[str] | None, most: int = 6) -> str:
    names = names or []
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "(none)"
