"""What a pair costs on the object, and what on the ground, in bits: where the true objects are known.

Seeds of training move these figures far less than they move FID, and they say where bits go: a model that
spends them on the ground has learned another thing than one that spends them on the object.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mvqlab.config import Config
from mvqlab.data import Splits, batches_in_order
from mvqlab.evaluation.images.importance import important_regions
from mvqlab.evaluation.likelihood.bits import bits_of_each
from mvqlab.models.mqvae import TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs
from mvqlab.models.start import CaptionStart, ClassStart
from mvqlab.training.tokens import tokenise


def object_and_ground_bits(
    model: PairModel, stage1: TokenModel, splits: Splits, config: Config
) -> dict[str, float]:
    """The columns of `bits_by_region` for the held-out images that evaluation uses, encoded by `stage1`.

    None where true objects are unknown, and none of a model of captions.
    """
    evaluation = config.evaluation
    limits = evaluation.batch_size, evaluation.images
    masks = [batch.importance for batch in batches_in_order(splits.validation, *limits)]
    known = [mask for mask in masks if mask is not None]
    if len(known) < len(masks) or isinstance(model.start, CaptionStart):
        return {}
    tokens = tokenise(
        stage1,
        splits.validation,
        order=config.transformer.order,
        seed=config.seed,
        batch_size=evaluation.batch_size,
        limit=evaluation.images,
    ).to(next(model.parameters()).device)
    conditions = tokens.conditions if isinstance(model.start, ClassStart) else None
    is_object = important_regions(torch.cat(known), tokens.pairs.side)
    was_training = model.training
    model.eval()
    try:
        return bits_by_region(model, tokens.pairs, is_object, conditions, evaluation.batch_size)
    finally:
        model.train(was_training)


def bits_by_region(
    model: PairModel,
    pairs: Pairs,
    is_object: Tensor,
    conditions: Tensor | None = None,
    batch_size: int = 256,
) -> dict[str, float]:
    """Means over pairs (B, N) at regions where `is_object` (B, L), and over the others.

    bits_per_object_pair, bits_per_ground_pair: of code and position together, nan where there are no such
    pairs; object_pair_share: share of the pairs that lie on an object. What an end costs is in neither.
    """
    bits = bits_of_each(model, pairs, conditions, batch_size).cpu()
    is_padding, positions = pairs.is_padding.cpu(), pairs.positions.cpu().long()
    on_object = is_object.cpu().gather(1, positions.masked_fill(is_padding, 0)) & ~is_padding
    on_ground = ~on_object & ~is_padding
    return {
        "bits_per_object_pair": float(bits[on_object].mean()),
        "bits_per_ground_pair": float(bits[on_ground].mean()),
        "object_pair_share": float(on_object.sum() / (~is_padding).sum()),
    }
