"""Linear layers that are quick for the few rows of a sampling step on a CPU, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Linear(nn.Linear):
    """torch's linear layer; inside `packed_linears` it reads its weight in the order oneDNN likes best."""

    packed: Tensor | None = None  # the weight (d_out, d_in) in oneDNN's own order, which has no shape

    def forward(self, x: Float[Tensor, "*any d_in"]) -> Float[Tensor, "*any d_out"]:
        """W x + b, for each row of `x`."""
        if self.packed is None:
            return super().forward(x)
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")


@contextmanager
def packed_linears(model: nn.Module, n_rows: int) -> Iterator[None]:
    """Inside the `with`, linear layers of `model` are two to three times as fast for `n_rows` rows or so.

    A step of sampling does little but read weights, and CPU libraries read a plain matrix for few rows at a
    third of the memory's speed. oneDNN's own layout is read at full speed; it is what torch's compiler uses.
    It holds a second copy of the weights while it lasts. On GPUs, in other precisions than float32 and where
    torch was built without oneDNN nothing changes.
    """
    linears = [module for module in model.modules() if isinstance(module, Linear) and _can_pack(module)]
    try:
        for linear in linears:
            linear.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), n_rows)
        yield
    finally:
        for linear in linears:
            linear.packed = None


def _can_pack(linear: nn.Linear) -> bool:
    weight = linear.weight
    known = hasattr(torch.ops.mkldnn, "_linear_pointwise") and torch.backends.mkldnn.is_available()
    return known and weight.device.type == "cpu" and weight.dtype == torch.float32
