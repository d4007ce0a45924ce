"""How the lab's own networks learn: AdamW under a one-cycle rate, for a given number of batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from mvqlab.support.progress import Progress

Network = TypeVar("Network", bound=nn.Module)


def train_one_cycle(
    network: Network,
    loss_of: Callable[[int], Tensor],
    steps: int,
    *,
    highest_rate: float,
    title: str,
    weight_decay: float = 0.01,
) -> Network:
    """Minimise `loss_of(step)` (), of a fresh batch at every step; `network` comes back in evaluation mode.

    title: what the progress is called. weight_decay: by default torch's.
    """
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, highest_rate, total_steps=steps)
    with Progress(title, steps) as progress:
        for step in range(steps):
            loss = loss_of(step)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            progress.advance(loss=loss.item())
    return network.eval()
