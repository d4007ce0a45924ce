"""The lab's optional warm-ups: encoder and decoder first learn what there is to quantise, and with all of it.

Before `quantizer.start_step` features pass the quantiser as they are; at that step the codebook starts from
features of training images. Over the first `mask.ramp_steps` the share of regions that is dropped rises from
none to what is asked for.
"""

from __future__ import annotations

from collections.abc import Callable

from mvqlab.data import Batch
from mvqlab.models.masking import n_kept
from mvqlab.models.mqvae import MQVAE, TokenModel

FEATURES_A_CODE = 2  # at least, of those that the codebook starts from


def wait(model: TokenModel, is_waiting: bool = True) -> None:
    """Let features pass the quantiser as they are in training, or end that."""
    model.quantizer.is_warming_up = is_waiting


def wait_or_start(model: TokenModel, step: int, start: int, draw: Callable[[int], Batch]) -> None:
    """Before training step number `step`: wait, or, where it is `start`, begin to quantise.

    draw: gives at least as many training images as it is asked for, on the model's device.
    """
    wait(model, step < start)
    if step == start:
        ratio = sum(model.config.mask.ratio_range) / 2  # of training, whatever is dropped outside it
        first = draw(images_to_start_from(model, n_kept(ratio, model.n_positions)))
        model.initialise_codebook(first.images, first.importance)


def set_ramp(model: TokenModel, step: int, ramp_steps: int) -> None:
    """Before training step number `step`: how much of what is to be dropped is dropped by now, 0 to 1."""
    if isinstance(model, MQVAE):
        model.mask.ramp = min(1.0, step / ramp_steps) if ramp_steps else 1.0


def images_to_start_from(model: TokenModel, n_kept: int) -> int:
    """How many images have features enough for all codes, if each keeps `n_kept` regions."""
    return -(-FEATURES_A_CODE * model.codebook_size // n_kept)
