"""One training step of stage 1, to read beside the paper (METHOD: stage 1, loss).

    loss = L1 + squared error + LPIPS + w * ramp * hinge GAN + quantiser (+ scorer)

One forward pass serves the model's update and the discriminator's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor, nn
from torch.optim import Optimizer

from mvqlab.config import Config, LossConfig
from mvqlab.data import Batch
from mvqlab.models.mqvae import Reconstruction, TokenModel
from mvqlab.training.loop import Losses
from mvqlab.training.losses import Judges, Stage1Loss, generator_loss, hinge_discriminator_loss
from mvqlab.training.updates import PLAIN, Updates

NO_JUDGES = Judges(None, None)


class Adversary(NamedTuple):
    """The discriminator, its optimiser, and which share of its weight in the loss is in force, 0 to 1."""

    network: nn.Module
    optimiser: Optimizer
    ramp: float


def stage1_step(
    model: Judged,
    optimiser: Optimizer,
    batch: Batch,
    settings: Config,
    adversary: Adversary | None = None,
    updates: Updates = PLAIN,
) -> Losses:
    """One update of the model and, if there is an `adversary`, of that: forward, loss, backward, clip, step.

    batch: images (B, 3, H, W) in [-1, 1]; importance (B, H, W), for masks that go by it. settings:
    `stage1.gradient_clip` is read here, what the loss consists of by `Judged`. updates: how gradients come
    about. In training mode the codebook follows the batch as well.

    Returns every term of the loss (), detached, as it was before the update, the whole as `loss`; with an
    adversary, its own as `discriminator`.
    """
    with updates.autocast():
        made, loss = model(batch.images, batch.importance, adversary.ramp if adversary else 0.0)
    updates.backward(loss.total)
    updates.update(model, optimiser, settings.stage1.gradient_clip)
    terms = {name: value for name, value in loss._asdict().items() if value is not None}
    losses = {"loss": terms.pop("total"), **terms}
    if adversary is not None:
        losses["discriminator"] = discriminator_step(adversary, batch.images, made.images, settings, updates)
    return {name: value.detach() for name, value in losses.items()}


def discriminator_step(
    adversary: Adversary, images: Tensor, made: Tensor, settings: Config, updates: Updates = PLAIN
) -> Tensor:
    """One update of the discriminator from `images` and what was `made` of them, each (B, 3, H, W).

    Returns its loss (). The model that made the images gets no gradient.
    """
    network, optimiser, _ = adversary
    with updates.autocast():
        loss = hinge_discriminator_loss(network(images), network(made.detach()))
    updates.backward(loss)
    updates.update(network, optimiser, settings.stage1.gradient_clip)
    return loss


class Judged(nn.Module):
    """A stage-1 model with its loss.

    Fabric's wrapper must hold both: it forbids what the adversarial weight needs, gradients of single
    losses, to pass out of the module that it wraps. The judges are no part of the module tree.
    """

    def __init__(self, model: TokenModel, loss: LossConfig, judges: Judges = NO_JUDGES) -> None:
        super().__init__()
        self.model, self.loss, self.judges = model, loss, judges

    def forward(
        self, images: Tensor, importance: Tensor | None = None, ramp: float = 0.0
    ) -> tuple[Reconstruction, Stage1Loss]:
        """Reconstruct `images` (B, 3, H, W) and price it; see `generator_loss` for `ramp`."""
        with _held_still(self.judges.discriminator):  # it learns in a step of its own
            made = self.model(images, importance)
            last_layer = self.model.decoder.last_layer
            return made, generator_loss(self.loss, self.judges, made, images, last_layer, ramp)


@contextmanager
def _held_still(network: nn.Module | None) -> Iterator[None]:
    """Gradients pass through `network` meanwhile, none is for its weights."""
    if network is None:
        yield
        return
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
