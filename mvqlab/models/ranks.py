"""Gathers over the processes of one training run; the identity where there is only one.

The codebook is not trained by gradients, so no wrapper keeps its copies equal: it must see the features
of all processes itself.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    """Whether several processes train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather_over_ranks(rows: Tensor) -> Tensor:
    """Every process's `rows` (M, ...), one below the other; all must have the same M."""
    if not is_distributed():
        return rows
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


def from_first_rank(tensor: Tensor) -> Tensor:
    """The first process's `tensor`, for random numbers that all must share."""
    if is_distributed():
        dist.broadcast(tensor, src=0)
    return tensor
