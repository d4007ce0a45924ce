"""Gathers and sums over the processes of one training run; the identity where there is only one.

The codebook is not trained by gradients, so no wrapper keeps its copies equal: it must see the features
of all processes itself.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor


def is_distributed() -> bool:
    """Whether several processes train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather_over_ranks(rows: Shaped[Tensor, " M *row"]) -> Shaped[Tensor, " all_M *row"]:
    """Every process's `rows`, one below the other; M may differ from process to process."""
    if not is_distributed():
        return rows
    lengths = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(dist.get_world_size())]
    dist.all_gather(lengths, torch.tensor([len(rows)], device=rows.device))
    longest = max(int(length) for length in lengths)
    padded = torch.cat([rows, rows.new_zeros(longest - len(rows), *rows.shape[1:])])  # (longest, ...)
    parts = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(parts, padded)
    # (longest, ...) of each -> (M of each, ...) -> (all_M, ...)
    return torch.cat([part[: int(length)] for part, length in zip(parts, lengths, strict=True)])


def sum_over_ranks(number: Shaped[Tensor, ""]) -> Shaped[Tensor, ""]:
    """The sum of every process's `number`."""
    if not is_distributed():
        return number
    total = number.clone()
    dist.all_reduce(total)
    return total


def from_every_rank(thing: Any) -> list[Any]:
    """Every process's `thing`, of plain containers, numbers and tensors on the CPU, in the order of ranks."""
    if not is_distributed():
        return [thing]
    things: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(things, thing)
    return things


def from_first_rank(tensor: Shaped[Tensor, "*any"]) -> Shaped[Tensor, "*any"]:
    """The first process's `tensor`, for random numbers that all must share."""
    if is_distributed():
        dist.broadcast(tensor, src=0)
    return tensor
