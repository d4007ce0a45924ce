"""What a pair costs on the object, and what on the ground, in bits: where the true objects are known.

Seeds of training move these figures far less than they move FID, and they say where bits go: a model that
spends them on the ground has learned another thing than one that spends them on the object.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mvqlab.config import Config
from mvqlab.data import Splits, batches_in_order
from mvqlab.data.pixels import to_uint8
from mvqlab.evaluation.images.complexity import complexity, rank_correlation
from mvqlab.evaluation.images.importance import important_regions
from mvqlab.evaluation.likelihood.bits import bits_of_each, image_bits
from mvqlab.models.mqvae import TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs
from mvqlab.models.start import CaptionStart, ClassStart
from mvqlab.support.evaluation_mode import evaluation_mode
from mvqlab.training.tokens import tokenise


def object_and_ground_bits(
    model: PairModel, stage1: TokenModel, splits: Splits, config: Config
) -> dict[str, float]:
    """Where the bits of held-out images go, those that evaluation uses, encoded by `stage1`.

    The columns of `bits_by_region`, where true objects are known, and bits_complexity: the rank correlation
    of an image's bits with its size as JPEG (see `evaluation.images.complexity`). None of a model of
    captions.
    """
    if isinstance(model.start, CaptionStart):
        return {}
    evaluation = config.evaluation
    limits = evaluation.batch_size, evaluation.images
    batches = list(batches_in_order(splits.validation, *limits))
    tokens = tokenise(
        stage1,
        splits.validation,
        order=config.transformer.order,
        seed=config.seed,
        batch_size=evaluation.batch_size,
        limit=evaluation.images,
    ).to(next(model.parameters()).device)
    conditions = tokens.conditions if isinstance(model.start, ClassStart) else None
    images = torch.cat([to_uint8(batch.images, "held-out images") for batch in batches])
    known = [batch.importance for batch in batches if batch.importance is not None]
    with evaluation_mode(model):
        bits = image_bits(model, tokens.pairs, conditions, evaluation.batch_size)
        columns = {"bits_complexity": rank_correlation(bits, complexity(images))}
        if len(known) < len(batches):
            return columns
        is_object = important_regions(torch.cat(known), tokens.pairs.side)
        return columns | bits_by_region(model, tokens.pairs, is_object, conditions, evaluation.batch_size)


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
