"""The authors' parameter names and shapes, as listed in the fixtures."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

FIXTURES = Path(__file__).parent / "fixtures"


def listed_tensors(file: str) -> dict[str, Tensor]:
    """Empty tensors, on the meta device, of the names and shapes in a fixture."""
    tensors = {}
    for line in (FIXTURES / file).read_text().splitlines():
        name, shape = line.split("\t")
        sizes = [int(size) for size in shape.strip("()").split(",") if size.strip()]
        tensors[name] = torch.empty(sizes, device="meta")
    return tensors
