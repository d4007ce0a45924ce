"""All columns of a results row: stage 1 on the held-out images, and generated images against them."""

from __future__ import annotations

import torch
from torch import Tensor

from mvqlab.config import Config
from mvqlab.data import Splits, batches_in_order
from mvqlab.evaluation.codebook import code_counts, codebook_redundancy, codebook_usage
from mvqlab.evaluation.extractors import FeatureExtractor
from mvqlab.evaluation.generation import generation_metrics
from mvqlab.evaluation.importance import importance_agreement
from mvqlab.evaluation.reconstruction import HeldOut, collect, perceptual_network, reconstruction_quality
from mvqlab.models.mqvae import TokenModel


def evaluate_stage1(
    model: TokenModel, splits: Splits, config: Config, extractor: FeatureExtractor | None = None
) -> dict[str, float]:
    """Reconstruction, codebook and importance columns of `model` on the held-out images.

    The first `config.evaluation.images` of them, which the model sees once. Units and ranges: see
    `reconstruction_quality`, `CodebookUsage`, `CodebookRedundancy` (both columns prefixed `codebook_`)
    and `ImportanceAgreement`. Raises MissingWeightsError before the model runs.
    """
    evaluation = config.evaluation
    device = next(model.parameters()).device
    perceptual = perceptual_network(evaluation.lpips, device)
    batches = batches_in_order(splits.validation, evaluation.batch_size, evaluation.images)
    held_out = collect(model, batches, config.seed)
    return {
        **reconstruction_quality(held_out, perceptual, extractor, evaluation.batch_size),
        **codebook_columns(held_out, model.codebook),
        **importance_agreement(held_out.scores, held_out.is_kept, held_out.importance)._asdict(),
    }


def evaluate_generation(
    generated_images: Tensor, splits: Splits, config: Config, extractor: FeatureExtractor
) -> dict[str, float]:
    """FID and KID columns of `generated_images` (n, 3, H, W), uint8 or in [-1, 1].

    The real ones are the first `config.evaluation.images` held-out images. See `generation_metrics`.
    """
    evaluation = config.evaluation
    batches = batches_in_order(splits.validation, evaluation.batch_size, evaluation.images)
    real_images = torch.cat([batch.images for batch in batches])
    return generation_metrics(real_images, generated_images, extractor, evaluation.batch_size, config.seed)


def codebook_columns(held_out: HeldOut, codebook: Tensor) -> dict[str, float]:
    """Usage and redundancy of `codebook` (K, n_z) over all held-out images; redundancy of used codes."""
    codes = held_out.pairs.codes
    usage = codebook_usage(codes, len(codebook))
    redundancy = codebook_redundancy(codebook, code_counts(codes, len(codebook)))
    columns = {**usage._asdict(), **redundancy._asdict()}
    return {f"codebook_{name}": value for name, value in columns.items()}
