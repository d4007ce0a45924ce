"""The lab's optional warm-ups: train without quantising first, drop ever more regions, fade noise on scores.

Before `quantizer.start_step` features pass the quantiser as they are; at that step the codebook starts from
features of training images. Over the first `mask.ramp_steps` the share of regions that is dropped rises from
none to what is asked for; over the first `mask.exploration_steps` noise on the scores fades.
"""

from __future__ import annotations

from collections.abc import Callable

from mvqlab.config import MaskConfig
from mvqlab.data import Batch
from mvqlab.models.masking import AdaptiveMask, n_kept
from mvqlab.models.mqvae import MQVAE, TokenModel

FEATURES_A_CODE = 2  # at least, of those that the codebook starts from


def bypass_quantizer(model: TokenModel, is_bypassed: bool = True) -> None:
    """Let features pass the quantiser as they are in training, or end that."""
    model.quantizer.is_warming_up = is_bypassed


def bypass_or_start_quantizer(model: TokenModel, step: int, start: int, draw: Callable[[int], Batch]) -> None:
    """Before training step number `step`: no quantising yet, or, where it is `start`, begin it.

    draw: gives at least as many training images as it is asked for, on the model's device.
    """
    bypass_quantizer(model, step < start)
    if step == start:
        ratio = sum(model.config.mask.ratio_range) / 2  # of training, whatever is dropped outside it
        first = draw(images_to_start_from(model, n_kept(ratio, model.n_positions)))
        model.initialise_codebook(first.images, first.importance)


def set_mask(model: TokenModel, step: int, settings: MaskConfig) -> None:
    """Before training step number `step`: how much is dropped by now, and how much noise is left.

    The share that is dropped rises over `ramp_steps`, the noise on learned scores fades over
    `exploration_steps`.
    """
    if isinstance(model, MQVAE):
        model.mask.ramp = share_of(step, settings.ramp_steps)
    if isinstance(model, MQVAE) and isinstance(model.mask, AdaptiveMask) and settings.exploration_steps:
        model.mask.fading = 1.0 - share_of(step, settings.exploration_steps)


def share_of(step: int, steps: int) -> float:
    """How much of `steps` is behind at number `step`, 0 to 1; 1 where there are none."""
    return min(1.0, step / steps) if steps else 1.0


def images_to_start_from(model: TokenModel, n: int) -> int:
    """How many images have features enough for all codes, if each keeps `n` regions."""
    return -(-FEATURES_A_CODE * model.codebook_size // n)
