"""Devices, processes and precision, through Lightning Fabric; seeds."""

from __future__ import annotations

import os

import lightning_fabric
import torch
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment

from mvqlab.config import Precision


def make_fabric(precision: Precision = "32-true") -> lightning_fabric.Fabric:
    """A Fabric for this process.

    One device, the best there is, unless a launcher (`torchrun`, `fabric run`) started several
    processes and says so in the environment; then data-parallel training over all of them.
    """
    world = int(os.environ.get("WORLD_SIZE", 1))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    fabric = lightning_fabric.Fabric(
        accelerator="auto",
        devices=local,
        num_nodes=max(1, world // local),
        strategy="ddp" if world > 1 else "auto",
        precision=precision,
        # named, because Fabric would otherwise take a job of SLURM's for its own to launch
        plugins=[TorchElasticEnvironment() if world > 1 else LightningEnvironment()],
    )
    fabric.launch()
    return fabric


def seed_everything(seed: int) -> None:
    """Seed torch's generators, from which weights, dropout, random masks and restarts are drawn."""
    torch.manual_seed(seed)
