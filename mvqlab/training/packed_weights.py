"""Weights in 8 bits: a whole number for each, and one scale a row, as large as the row's largest weight asks.

    w (rows, ...) under NAME  ->  int8 of the same shape under NAME, and NAME.row_scale (rows,)

A weight is off by at most 1/254 of the largest of its row. The largest shipped models are kept so: half the
file, and less than 0.01 dB on held-out emoji (results/log/trainings.md).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

LARGEST = 127
SCALE = ".row_scale"
KEPT = "quantizer."  # codes are told apart by small distances, and are few


def packed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices and kernels in 8 bits with a scale a row, the rest, and the codebook, in half precision."""
    parts: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if weight.ndim < 2 or not weight.is_floating_point() or name.startswith(KEPT):
            parts[name] = weight.half() if weight.is_floating_point() else weight
            continue
        rows = weight.detach().float().flatten(1)  # (rows, n)
        scale = rows.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / LARGEST  # (rows,)
        parts[name] = (rows / scale.unsqueeze(1)).round().to(torch.int8).view_as(weight)
        parts[name + SCALE] = scale
    return parts


def unpacked(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `packed` was given, to 8 bits; weights that were never packed as they are."""
    weights: dict[str, Tensor] = {}
    for name, part in parts.items():
        if name.endswith(SCALE):
            continue
        if name + SCALE in parts:
            rows = part.float().flatten(1) * parts[name + SCALE].unsqueeze(1)  # (rows, n)
            weights[name] = rows.view_as(part)
        else:
            weights[name] = part
    return weights
