"""All columns of a results row: stage 1 on the held-out images, and generated images against them."""

from __future__ import annotations

import math

import pandas as pd
from torch import Tensor

from mvqlab.config import Config
from mvqlab.data import Splits, batches_in_order
from mvqlab.evaluation.codebook.usage import (
    code_counts,
    codebook_redundancy,
    codebook_usage,
    perplexity_of_few,
)
from mvqlab.evaluation.images.complexity import complexity, rank_correlation
from mvqlab.evaluation.images.distance import psnr_by_distance
from mvqlab.evaluation.images.importance import importance_agreement
from mvqlab.evaluation.images.rate import fixed_length_bits
from mvqlab.evaluation.images.reconstruction import (
    HeldOut,
    collect,
    perceptual_network,
    reconstruction_quality,
)
from mvqlab.evaluation.operations import drawing_operations, stage1_operations, stage2_operations
from mvqlab.evaluation.samples.distances import features_of, spread_column
from mvqlab.evaluation.samples.feature_extractor import Extractors, FeatureExtractor, each_of
from mvqlab.evaluation.samples.judge import judge_columns
from mvqlab.evaluation.samples.reference_features import reference_features
from mvqlab.models.mqvae import TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.sampling import Samples

COUNTED_IMAGES = 4  # whose operations are counted
LAST_BATCHES = 15  # logged ones, that a training loss is averaged over where nothing better was measured


def collect_held_out(model: TokenModel, splits: Splits, config: Config) -> HeldOut:
    """Run `model` once over the first `config.evaluation.images` held-out images."""
    batches = batches_in_order(splits.validation, config.evaluation.batch_size, config.evaluation.images)
    return collect(model, batches, config.seed)


def evaluate_held_out(
    held_out: HeldOut, model: TokenModel, config: Config, extractor: Extractors = None
) -> dict[str, float | str]:
    """Reconstruction, codebook and importance columns of what `model` made of the held-out images.

    Units and ranges: see `reconstruction_quality`, `psnr_by_distance`, `CodebookUsage`, `CodebookRedundancy`
    (both columns prefixed `codebook_`) and `ImportanceAgreement`. Each extractor, be it one or several, has
    columns of its own. n_pairs, n_pairs_std: mean and spread, over images, of the pairs that one has.
    length_complexity: see `evaluation.images.complexity`; nan where all images have as many pairs.
    fixed_length_bits: what an image costs without a transformer, see `evaluation.images.rate`. The
    networks that judged are named in `lpips_network` and `extractor`. Of dual grain, where a region without
    a pair is not a dropped one, there is neither a PSNR by distance nor an IoU. Raises MissingWeightsError.
    """
    perceptual = perceptual_network(config.evaluation.lpips, next(model.parameters()).device)
    of_distances = psnr_by_distance(held_out.images, held_out.reconstructions, held_out.is_kept)
    agreement = importance_agreement(held_out.scores, held_out.is_kept, held_out.importance)._asdict()
    if model.config.mask.kind == "dual_grain":
        of_distances = {}
        agreement = {name: value for name, value in agreement.items() if not name.startswith("kept_iou")}
    return {
        **reconstruction_quality(held_out, perceptual, extractor, config.evaluation.batch_size),
        **of_distances,
        "n_pairs": held_out.pairs.mean_length,
        "n_pairs_std": float(held_out.pairs.lengths.double().std(correction=0)),
        "length_complexity": length_complexity(held_out),
        "fixed_length_bits": fixed_length_bits(model, held_out.pairs.lengths),
        **codebook_columns(held_out, model.codebook.cpu()),
        **agreement,
        "lpips_network": perceptual.label if perceptual else "none",
        "extractor": "; ".join(one.name for one in each_of(extractor)) or "none",
    }


def length_complexity(held_out: HeldOut) -> float:
    """Rank correlation, over images, of how many pairs one has with its size as JPEG."""
    lengths = held_out.pairs.lengths
    if (lengths == lengths[0]).all():  # before all are written as JPEG
        return float("nan")
    return rank_correlation(lengths, complexity(held_out.images))


def evaluate_stage1(
    model: TokenModel, splits: Splits, config: Config, extractor: Extractors = None
) -> dict[str, float | str]:
    """`collect_held_out`, then `evaluate_held_out`."""
    return evaluate_held_out(collect_held_out(model, splits, config), model, config, extractor)


def training_speed(curves: pd.DataFrame) -> float:
    """Seconds of a training step: the median over the logged stretches of a run's `curves.csv`.

    A run that logged only once has but its start to be measured on.
    """
    train = curves[curves["split"] == "train"]
    first = train.iloc[0]
    stretches = (train["seconds"].diff() / train["step"].diff()).fillna(first["seconds"] / first["step"])
    return float(stretches.iloc[min(1, len(train) - 1) :].median())


def evaluate_generation(
    generated_images: Tensor, splits: Splits, config: Config, extractor: Extractors
) -> dict[str, float]:
    """Columns of `generated_images` (n, 3, H, W), uint8 or in [-1, 1]: see `judge`.

    The real ones are the first `config.evaluation.images` held-out images. Each column ends in the
    extractor's name; with `config.evaluation.bootstrap` further ones, in _low and _high, hold 95 % intervals,
    and of several judges in one extractor there is their standard deviation, in _spread.
    There is no column where nothing was generated.
    """
    columns: dict[str, float] = {}
    if len(generated_images) > 0:
        for one in each_of(extractor):
            columns |= _generation_columns(generated_images, splits, config, one)
    return columns


def _generation_columns(
    generated_images: Tensor, splits: Splits, config: Config, extractor: FeatureExtractor
) -> dict[str, float]:
    evaluation = config.evaluation
    real = reference_features(
        splits.validation,
        splits.data_hash,
        "validation",
        extractor,
        evaluation.images,
        batch_size=evaluation.batch_size,
    )
    generated = features_of(extractor, generated_images, evaluation.batch_size, "generated images")
    columns = judge_columns(real, generated, extractor, evaluation.bootstrap, config.seed)
    columns |= spread_column(real, generated, extractor, config.seed)
    return columns | {"real_images": len(real), "generated_images": len(generated)}


def stage2_columns(curves: pd.DataFrame, samples: Samples) -> dict[str, float]:
    """What a transformer costs and how well it predicts, from its `curves` and the `samples` drawn.

    code_loss, position_loss: held-out cross-entropy in nats a pair; train_code_loss: the same of
    training images, as many and measured alike (curves that are older hold batches alone, of which it
    is the mean over the last rows). bits_per_image: held-out bits for all pairs of an image;
    code_bits_per_image and position_bits_per_image: its two parts, 0 for positions that are given.
    code_loss_gap and bits_per_image_gap: held out minus training, the latter over as many pairs as a
    held-out image has; bits_per_image_relative_gap: that over bits_per_image; not of older curves.
    best_code_loss, best_bits_per_image: the lowest held-out ones along the run, and, in
    best_code_loss_step and best_bits_per_image_step, after how many steps; not of runs that measured
    once. n_pairs: of a held-out image, n_pairs_drawn: of a drawn one, on average. samples_per_second:
    images, decoding included. Neither is there where nothing was drawn. stage2_seconds_per_step.
    """
    validations = curves[curves["split"] == "validation"].set_index("step")
    last = validations.iloc[-1]
    losses = {name: float(last[name]) for name in ("code_loss", "position_loss") if name in curves}
    # curves without it are older, of images that have equally many
    n_pairs = float(last.get("pairs", samples.pairs.n_pairs))

    drawn = {}
    if len(samples.pairs):
        drawn["n_pairs_drawn"] = samples.pairs.mean_length
        drawn["samples_per_second"] = len(samples.pairs) / samples.seconds

    bits = n_pairs / math.log(2)  # of an image, a nat of its pairs' mean

    gaps = {}
    if "seen_code_loss" in curves:  # measured as the held-out losses are
        apart = {name: value - float(last[f"seen_{name}"]) for name, value in losses.items()}
        gaps = {
            "code_loss_gap": apart["code_loss"],
            "bits_per_image_gap": bits * sum(apart.values()),
            "bits_per_image_relative_gap": sum(apart.values()) / sum(losses.values()),
        }

    return {
        **losses,
        "train_code_loss": _train_code_loss(curves),
        **gaps,
        **_lowest("code_loss", validations["code_loss"]),
        **_lowest("bits_per_image", bits * validations[list(losses)].sum(axis=1)),
        "bits_per_image": bits * sum(losses.values()),
        "code_bits_per_image": bits * losses["code_loss"],
        "position_bits_per_image": bits * losses.get("position_loss", 0.0),
        "n_pairs": n_pairs,
        **drawn,
        "stage2_seconds_per_step": training_speed(curves),
    }


def operation_columns(
    stage1: TokenModel, splits: Splits, config: Config, stage2: PairModel | None = None
) -> dict[str, float]:
    """What a training step of each stage and drawing an image cost, counted: see `evaluation.operations`.

    Of stage 2 nothing where captions are read: what they add hangs on how long they are.
    """
    batch = next(iter(batches_in_order(splits.validation, COUNTED_IMAGES)))
    batch = batch.to(next(stage1.parameters()).device)
    columns = {"stage1_gflop_per_image": stage1_operations(stage1, batch)}
    if stage2 is None or config.transformer.condition == "caption":
        return columns
    pairs = stage1.encode(batch.images, batch.importance).pairs
    conditions = batch.labels if config.transformer.condition == "class" else None
    return columns | {
        "stage2_gflop_per_image": stage2_operations(stage2, pairs, conditions),
        "drawing_gflop_per_image": drawing_operations(stage2, stage1, pairs, conditions, config),
    }


def _train_code_loss(curves: pd.DataFrame) -> float:
    """Nats of a training image's code, dropout off; over batches where the curves hold nothing better."""
    if "seen_code_loss" in curves:
        return float(curves[curves["split"] == "validation"].iloc[-1]["seen_code_loss"])
    return float(curves[curves["split"] == "train"]["code_loss"].tail(LAST_BATCHES).mean())


def _lowest(name: str, held_out: pd.Series) -> dict[str, float]:
    """Columns of the lowest of `held_out`, a figure by steps, of runs that measured it more than once."""
    if len(held_out) < 2:
        return {}
    return {f"best_{name}": float(held_out.min()), f"best_{name}_step": int(held_out.idxmin())}


def codebook_columns(held_out: HeldOut, codebook: Tensor) -> dict[str, float]:
    """Usage and redundancy of `codebook` (K, n_z) over all held-out images; redundancy of used codes."""
    codes = held_out.pairs.all_codes
    usage = codebook_usage(codes, len(codebook))
    redundancy = codebook_redundancy(codebook, code_counts(codes, len(codebook)))
    few = {"perplexity_of_few": perplexity_of_few(codes, len(codebook))}
    columns = {**usage._asdict(), **few, **redundancy._asdict()}
    return {f"codebook_{name}": value for name, value in columns.items()}
