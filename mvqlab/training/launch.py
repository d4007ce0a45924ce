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

from mvqlab.config import Precision

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def make_fabric(precision: Precision = "32-true") -> Fabric:
    """A Fabric for this process.

    One device, the best there is, unless a launcher (`torchrun`, `fabric run`) started several
    processes and says so in the environment; then data-parallel training over all of them.
    Several GPUs have not been tried yet.
    """
    fabric_package = _fabric_package()
    environments = import_module(f"{fabric_package.__name__}.plugins.environments")
    world = int(os.environ.get("WORLD_SIZE", 1))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    fabric = fabric_package.Fabric(
        accelerator="auto",
        devices=local,
        num_nodes=max(1, world // local),
        strategy="ddp" if world > 1 else "auto",
        precision=precision,
        # named, because Fabric would otherwise take a job of SLURM's for its own to launch
        plugins=[
            environments.TorchElasticEnvironment() if world > 1 else environments.LightningEnvironment()
        ],
    )
    fabric.launch()
    return fabric


def _fabric_package() -> ModuleType:
    """lightning_fabric, or the same as a part of lightning, which is what some machines have."""
    try:
        return import_module("lightning_fabric")
    except ModuleNotFoundError:
        return import_module("lightning.fabric")


def seed_everything(seed: int) -> None:
    """Seed torch's generators, from which weights, dropout, random masks and restarts are drawn."""
    torch.manual_seed(seed)
