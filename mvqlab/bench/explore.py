"""From a slider's new value to new pictures, as the mask explorer makes them at 64 x 64 pixels."""

from __future__ import annotations

import itertools

import torch

from mvqlab.bench.timing import Case
from mvqlab.evaluation.images.masked_image import EncodedImage, require_scores
from mvqlab.training.losses import PerceptualLoss
from mvqlab.widgets.mask_setting import MaskSetting
from mvqlab.zoo.shipped import load_shipped_stage1

WORK = "mask explorer: a new mask ratio at 64 x 64 pixels, four pictures and all numbers"


def explore_cases(device: torch.device) -> list[Case]:
    """The explorer's way, and the plain one: the encoder too at every move. On the CPU, as the widget is."""
    model = require_scores(load_shipped_stage1("emoji_mqvae"))
    perceptual = PerceptualLoss("random")
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    setting = MaskSetting("bench")
    setting.show(EncodedImage(model, image, perceptual))
    ratios = itertools.cycle([0.1, 0.25, 0.5, 0.75, 0.9])

    def move() -> None:
        setting.mask_ratio.value = next(ratios)
        if setting.message.value:
            raise RuntimeError(setting.message.value)

    def encode_and_move() -> None:
        setting.show(EncodedImage(model, image, perceptual))
        move()

    anew = "encoded anew"
    return [Case(WORK, "encoded once", anew, move), Case(WORK, anew, anew, encode_and_move)]
