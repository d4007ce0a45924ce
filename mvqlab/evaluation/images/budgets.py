"""A budget of codes for each image: the regions that score above a threshold, rather than a fixed share.

An image with three objects then gets more codes than one with none. Fixed shares and thresholds are held
against each other at equal mean length: the threshold is set on training images so that the mean share
dropped is the mask ratio. The model must have been trained for many ratios (`mask.mask_ratio: [low, high]`),
or numbers of regions that it never saw would be what is measured.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from mvqlab.evaluation.images.masked_image import EncodedImage, MaskedImage
from mvqlab.evaluation.images.reconstruction import pooled_psnr
from mvqlab.models.budgets import positions_above
from mvqlab.models.mqvae import TokenModel


def score_threshold(scores: Tensor, mask_ratio: float) -> float:
    """The score under which the share `mask_ratio` of all regions lies, over images: scores (n, L)."""
    return float(torch.quantile(scores.flatten().double(), mask_ratio))


def budget_table(
    model: TokenModel, images: Tensor, calibration: Tensor, mask_ratios: Sequence[float]
) -> pd.DataFrame:
    """Fixed shares against thresholds at equal mean length, on `images` (n, 3, H, W) in [-1, 1].

    calibration (m, 3, H, W): training images that set each threshold. A row a ratio and kind of budget:
    mask_ratio, budget (fixed, threshold); kept, kept_std, kept_min, kept_max: regions an image; psnr: dB,
    mean over images; pooled_psnr: dB, of the squared error over all images, in which bad ones weigh more.

    Raises ValueError for a model without learned scores.
    """
    encoded = [EncodedImage(model, image) for image in images]
    known = torch.cat([EncodedImage(model, image).scores for image in calibration])
    rows = []
    for ratio in mask_ratios:
        threshold = score_threshold(known, ratio)
        choices = {
            "fixed": [image.best_at(ratio) for image in encoded],
            "threshold": [positions_above(image.scores, threshold)[0] for image in encoded],
        }
        for budget, positions in choices.items():
            made = [image.keep(kept) for image, kept in zip(encoded, positions, strict=True)]
            rows.append({"mask_ratio": ratio, "budget": budget, **_measured(made)})
    return pd.DataFrame(rows)


def _measured(made: Sequence[MaskedImage]) -> dict[str, float]:
    kept = torch.tensor([len(one.codes) for one in made], dtype=torch.float64)
    psnr = torch.tensor([one.psnr for one in made], dtype=torch.float64)
    return {
        "kept": float(kept.mean()),
        "kept_std": float(kept.std(correction=0)),
        "kept_min": float(kept.min()),
        "kept_max": float(kept.max()),
        "psnr": float(psnr.mean()),
        "pooled_psnr": pooled_psnr(psnr),
    }
