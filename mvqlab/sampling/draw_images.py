"""Draw images: pairs from stage 2, decoded by stage 1."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mvqlab.config import Config
from mvqlab.models.mqvae import TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs, concatenate
from mvqlab.models.start import ClassStart
from mvqlab.sampling.draw_pairs import sample_pairs
from mvqlab.support.evaluation_mode import evaluation_mode
from mvqlab.support.progress import Progress


@dataclass(frozen=True)
class Samples:
    """Drawn images (M, 3, H, W), their pairs, and the seconds that drawing the pairs and decoding took."""

    images: Float[Tensor, "M 3 H W"]
    pairs: Pairs
    seconds: float


def sample_images(
    model: PairModel, stage1: TokenModel, config: Config, conditions: Int[Tensor, "M ..."] | None = None
) -> Samples:
    """Draw `config.evaluation.samples` images, batch by batch, from `config.seed`; they come back on the CPU.

    conditions: classes (M,) or tokens of captions (M, T), one an image. A class-conditional model that is
    given none draws each class in turn, whatever their shares in the data: where these differ, distances
    to held-out images count that, too. A model of captions draws as without one. Of 0 images come tensors
    without rows.
    """
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(config.seed)
    size, n_images = config.evaluation.batch_size, config.evaluation.samples
    if conditions is None and isinstance(model.start, ClassStart):
        conditions = torch.arange(n_images) % model.start.n_classes
    pairs, images = [], []
    began = time.perf_counter()
    batches = [range(first, min(first + size, n_images)) for first in range(0, n_images, size)] or [range(0)]
    with Progress("sampling", len(batches) * model.drawing_steps(config.sampling)) as progress:
        for rows in batches:
            mine = None if conditions is None else conditions[rows.start : rows.stop]
            drawn = sample_pairs(
                model,
                len(rows),
                config.sampling,
                generator=generator,
                conditions=mine,
                progress=progress.advance,
            )
            with torch.no_grad(), evaluation_mode(stage1):
                images.append(stage1.decode(drawn).cpu())
            pairs.append(drawn.to("cpu"))
    return Samples(torch.cat(images), concatenate(pairs), time.perf_counter() - began)
