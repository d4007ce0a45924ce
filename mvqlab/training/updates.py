"""From a loss to an update of weights: in plain PyTorch, and what mixed precision and several batches add.

    with updates.autocast():
        loss = ...                                   forward
    updates.backward(loss)                           gradients, added to those that are there
    updates.update(model, optimiser, clip)           clip, step, forget the gradients

Steps (`stage1_step`, `stage2_step`) are written with these three, so that they read the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Updates:
    """Plain PyTorch: one device, one batch, the precision of the weights."""

    def autocast(self) -> AbstractContextManager[object]:
        """What the forward pass runs in."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of `loss` () to the gradients of all weights that it depends on."""
        loss.backward()

    def update(self, model: nn.Module, optimiser: Optimizer, clip: float = 0.0) -> None:
        """Cut the gradients of `model` to a norm of `clip` (0: as they are), take a step and forget them."""
        if clip > 0.0:
            self.clip(model, optimiser, clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    def clip(self, model: nn.Module, optimiser: Optimizer, largest: float) -> None:
        """Shorten the gradients of `model`, which `optimiser` is to use, to a norm of `largest`."""
        nn.utils.clip_grad_norm_(model.parameters(), largest)


PLAIN = Updates()


class MixedUpdates(Updates):
    """Forward passes in bfloat16 where that is exact enough; weights and gradients stay in float32."""

    def __init__(self, device: torch.device, is_mixed: bool) -> None:
        self.device, self.is_mixed = device, is_mixed

    def autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_mixed)


class FabricUpdates(Updates):
    """In Fabric's precision and over its processes; from several batches, if a step has more than one.

    Models that Fabric has set up know its precision themselves: their forward pass is under autocast already.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.divisor: float | Tensor = 1.0
        self.is_last = True

    @contextmanager
    def of_batch(self, divisor: float | Tensor, is_last: bool, *models: nn.Module) -> Iterator[None]:
        """Inside it, losses count as one in `divisor`; only the last of a step's batches ends in an update.

        Gradients of `models` are averaged over the processes with the last batch, not with each.
        """
        self.divisor, self.is_last = divisor, is_last
        with ExitStack() as stack:
            for model in models:
                stack.enter_context(self.fabric.no_backward_sync(model, enabled=not is_last))  # type: ignore[arg-type]
            yield

    def backward(self, loss: Tensor) -> None:
        self.fabric.backward(loss / self.divisor)

    def update(self, model: nn.Module, optimiser: Optimizer, clip: float = 0.0) -> None:
        if self.is_last:
            super().update(model, optimiser, clip)

    def clip(self, model: nn.Module, optimiser: Optimizer, largest: float) -> None:
        self.fabric.clip_gradients(model, optimiser, max_norm=largest, error_if_nonfinite=False)
