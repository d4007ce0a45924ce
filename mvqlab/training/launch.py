"""Devices, processes and precision, through Lightning Fabric; seeds.

Fabric takes seconds to import (it imports torchmetrics), so that happens where a training starts: whoever
only loads a model does not wait for it.
"""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

import torch

from mvqlab.config import Config, ConfigError, Precision
from mvqlab.data.seeds import seed_of
from mvqlab.training.optimiser import check_optimiser

if TYPE_CHECKING:
    from lightning_fabric import Fabric


TOLD_BY_LAUNCHERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE")


class LaunchError(RuntimeError):
    """The environment speaks of several processes, but not as a launcher does."""


def make_fabric(precision: Precision = "32-true") -> Fabric:
    """A Fabric for this process.

    One device, the best there is, unless a launcher (`torchrun`, `fabric run`) started several
    processes and says so in the environment; then data-parallel training over all of them.
    Several GPUs have not been tried yet. Raises LaunchError where that is half said, ConfigError (see
    `check_precision`).
    """
    check_precision(precision, torch.cuda.is_available())
    package = fabric_package()
    environments = import_module(f"{package.__name__}.plugins.environments")
    world, local = _processes()
    fabric = package.Fabric(
        accelerator="auto",
        devices=local,
        num_nodes=world // local,
        strategy="ddp" if world > 1 else "auto",
        precision=precision,
        # named, because Fabric would otherwise take a job of SLURM's for its own to launch
        plugins=[
            environments.TorchElasticEnvironment() if world > 1 else environments.LightningEnvironment()
        ],
    )
    fabric.launch()
    return fabric


def check_machine(config: Config) -> None:
    """Raise ConfigError if this machine cannot train what `config` asks for, in either stage.

    Both are looked at before the first begins: the second would be refused only when that has been trained.
    """
    has_gpu = torch.cuda.is_available()
    check_precision(config.stage1.precision, has_gpu, "stage1.")
    if config.transformer.model != "none":
        check_precision(config.stage2.precision, has_gpu, "stage2.")
        check_optimiser(config.stage2)


def check_precision(precision: Precision, has_gpu: bool, section: str = "") -> None:
    """Raise ConfigError if another `precision` would run than the one asked for, and written down."""
    if precision == "16-mixed" and not has_gpu:
        raise ConfigError(
            f"{section}precision=16-mixed needs a GPU of CUDA, and there is none here: set bf16-mixed, which "
            "a CPU can run in its place, or 32-true"
        )


def _processes() -> tuple[int, int]:
    """How many processes train together, in all and on this machine."""
    world = _told("WORLD_SIZE", 1, least=1)
    if world == 1:
        return 1, 1
    missing = [name for name in TOLD_BY_LAUNCHERS if not os.environ.get(name)]
    if missing:
        raise LaunchError(
            f"WORLD_SIZE is {world}, but {' and '.join(missing)} not set: start the processes with torchrun, "
            "which sets them all, or unset WORLD_SIZE to train in one"
        )
    for name in ("RANK", "LOCAL_RANK", "GROUP_RANK", "MASTER_PORT"):
        _told(name, 0, least=0)
    local = _told("LOCAL_WORLD_SIZE", world, least=1)
    if world % local:
        raise LaunchError(f"WORLD_SIZE ({world}) is no multiple of LOCAL_WORLD_SIZE ({local})")
    return world, local


def _told(name: str, default: int, least: int) -> int:
    """The number that the environment variable `name` holds; `default` where it is not set or empty."""
    word = os.environ.get(name) or str(default)
    if not (word.isascii() and word.isdecimal() and int(word) >= least):
        raise LaunchError(
            f"the environment variable {name} must be a whole number from {least} on, not '{word}'"
        )
    return int(word)


def fabric_package() -> ModuleType:
    """lightning_fabric, or the same as a part of lightning, which is what some machines have."""
    try:
        return import_module("lightning_fabric")
    except ModuleNotFoundError:
        return import_module("lightning.fabric")


def seed_everything(seed: int) -> None:
    """Seed torch's generators, from which weights, dropout, random masks and restarts are drawn."""
    torch.manual_seed(seed)


def seed_noise(seed: int, rank: int, step: int = 0) -> None:
    """Let process number `rank` of a training draw other noise than the others, from `step` on.

    To be called once the model is built, as that must be the same in all. The first goes on as it is: it
    draws what a process by itself would.
    """
    if rank > 0:
        torch.manual_seed(seed_of(seed, "noise", rank, step))
