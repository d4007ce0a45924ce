"""One training step of stage 2, to read beside the paper (METHOD: stage 2, loss).

loss = cross-entropy of the codes + position_weight * cross-entropy of the positions
"""

from __future__ import annotations

from torch import Tensor
from torch.optim import Optimizer

from mvqlab.config import Config
from mvqlab.models.pair_model import PairLoss, PairModel
from mvqlab.training.loop import Losses
from mvqlab.training.tokens import TokenSet
from mvqlab.training.updates import PLAIN, Updates


def stage2_step(
    model: PairModel, optimiser: Optimizer, batch: TokenSet, settings: Config, updates: Updates = PLAIN
) -> Losses:
    """One update of the transformers: forward, loss, backward, clip, step.

    All pairs are predicted at once, each from the true ones before it (teacher forcing). A model of any order
    sees them in another one at every step; masked parallel predicts hidden places from those that it sees.

    batch: pairs, codes (B, N) and positions (B, N); conditions, classes (B,) or captions' tokens (B, T).
    settings: `transformer.condition` and the share of images that are not told theirs,
    `transformer.condition_dropout`; `stage2.gradient_clip`. updates: how gradients come about.

    Returns the losses (), detached, in nats a pair: see `named`.
    """
    conditions = conditions_of(batch, settings)
    if conditions is not None:
        conditions = model.start.withhold(conditions, settings.transformer.condition_dropout)
    pairs = batch.pairs.shuffled() if model.order == "random" else batch.pairs
    with updates.autocast():
        loss = model.loss(pairs, conditions)
    updates.backward(loss.total)
    updates.update(model, optimiser, settings.stage2.gradient_clip)
    return named(loss)


def conditions_of(batch: TokenSet, settings: Config) -> Tensor | None:
    """What images are drawn from, classes (B,) or captions' tokens (B, T); None if it is nothing."""
    return None if settings.transformer.condition == "none" else batch.conditions


def named(loss: PairLoss) -> Losses:
    """The parts of `loss` by their names in the curves, detached; no `position_loss` where there is none."""
    values = {"loss": loss.total, "code_loss": loss.codes, "position_loss": loss.positions}
    return {name: value.detach() for name, value in values.items() if value is not None}
