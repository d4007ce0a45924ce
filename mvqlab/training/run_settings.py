"""The settings of a run, in its folder, and whether it can go on under others."""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path
from typing import Any

from mvqlab.config import Config, ConfigError, load_config, save_config, stage1_settings
from mvqlab.config.own_arms import GIVE_ITS_FILE, unknown_names
from mvqlab.config.recipes import OWN
from mvqlab.config.yaml_files import read_yaml
from mvqlab.support.files import whole_file
from mvqlab.training.checkpoint import CheckpointError


def save_settings(config: Config, folder: Path) -> None:
    """Write `config` into the folder of a run."""
    with whole_file(folder / "config.yaml") as path:
        save_config(config, path)


def load_settings(folder: Path) -> Config:
    """The settings of the run in `folder`.

    Raises CheckpointError if there are none, or if they name an arm of somebody's own that is not here.
    """
    path = Path(folder) / "config.yaml"
    if not path.exists():
        raise CheckpointError(f"{folder} holds no run: there is no config.yaml in it")
    try:
        return load_config(path)
    except ConfigError:
        if unknown := unknown_names(read_yaml(path, "file of settings")):
            words = [f"{name}{_file_of_arm(Path(folder), name)}" for name in unknown]
            raise CheckpointError(
                f"the run in {folder} has {' and '.join(words)}, which mvqlab does not know: {GIVE_ITS_FILE}"
            ) from None
        raise


def _file_of_arm(folder: Path, name: str) -> str:
    """Words for the file from which the run in `folder` had the arm `name`; none if it does not say."""
    try:
        file = json.loads((folder / "trained_on.json").read_text(encoding="utf-8"))["arms"][name]["file"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return f" (from {file})"


def settings_before(folder: Path) -> Config | None:
    """The settings with which the run in `folder` was last saved; None if it has lost them."""
    return load_settings(folder) if (folder / "config.yaml").exists() else None


MAY_CHANGE = frozenset(  # sections and settings under which a run may be gone on with
    {
        *("preset", "evaluation", "sampling"),  # training does not read them
        *(
            "workers",
            "cache_tokens",
            "root",
            "captions",
            "skip_bad",
            "uncaptioned_share",
        ),  # how data are found
        "recipe",  # what it fills in is compared setting by setting
        *("steps", "log_every", "validate_every", "checkpoint_every", "tensorboard", "compile", "precision"),
    }
)


def check_same_run(config: Config, folder: Path, stage: str, settings: Config | None) -> None:
    """Check that the run of `stage` ("stage1", "stage2") in `folder`, under `settings` so far, can go on.

    Settings that change neither the model nor what it has learned so far may differ. Raises
    CheckpointError, naming each that does and may not.
    """
    if settings is None:
        return
    if stage == "stage1":
        settings, config, free = stage1_settings(settings), stage1_settings(config), MAY_CHANGE
    else:
        free = MAY_CHANGE | {"stage1", "loss", "discriminator"}
    if changed := _changes(settings, config, free):
        raise CheckpointError(
            f"the run in {folder} was started with other settings; resume it with those, or train in "
            f"another folder:\n{changed}"
        )


def as_begun(config: Config, before: Config | None) -> Config:
    """`config` for a run that was begun with the settings `before`, which may now take more steps or fewer.

    Where its recipe has noise fade over half of them, it goes on to fade as when the run began.
    """
    if before is None or config.mask.recipe == OWN:
        return config
    mask = config.mask.model_copy(update={"exploration_steps": before.mask.exploration_steps})
    return config.model_copy(update={"mask": mask})


def check_same_training(config: Config, folder: Path) -> None:
    """Check that the stage 1 in `folder` was trained as `config` asks for it: see `stage1_settings`.

    Raises CheckpointError, naming each setting that differs and is not for later steps alone.
    """
    settings = settings_before(folder)
    if settings is None:
        return
    if changed := _changes(stage1_settings(settings), stage1_settings(config)):
        raise CheckpointError(f"{folder} holds another training of stage 1; name another folder:\n{changed}")


def _changes(before: Config, now: Config, free: Set[str] = frozenset()) -> str:
    """What differs in two settings, those of the names `free` aside: a line each, or nothing."""
    was, wanted = _flat(before, free), _flat(now, free)
    changed = [f"  {key}: was {was[key]}, now {wanted[key]}" for key in wanted if was[key] != wanted[key]]
    return "\n".join(changed)


def _flat(config: Config, free: Set[str]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, section in config.plain().items():
        if name in free:
            continue
        inside = section.items() if isinstance(section, dict) else [("", section)]
        flat |= {f"{name}.{key}".rstrip("."): value for key, value in inside if key not in free}
    return flat
