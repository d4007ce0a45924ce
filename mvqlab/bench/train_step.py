"""A training step of MQ-VAE beside the plain VQ model's, module by module; stage 2 over mask ratios."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvqlab.bench.timing import Case
from mvqlab.config import Config, TransformerConfig, load_config
from mvqlab.models.masking import n_kept
from mvqlab.models.mqvae import MQVAE, PlainVQ, TokenModel, build_stage1, quickest_layout
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs
from mvqlab.models.transformers import build_stage2

N_IMAGES = 4
# The published shape at a quarter of its width and half its resolution.
SMALL = {
    "backbone.base_channels": 32,
    "backbone.attention_resolutions": [16],
    "backbone.feature_dim": 64,
    "quantizer.code_dim": 64,
    "data.resolution": 128,
}


def train_step_cases(device: torch.device) -> list[Case]:
    """Stage 1 at 128 x 128, f8, 75 % masked; stage 2 at 0 to 75 % of a 16 x 16 grid."""
    return [*_stage1_cases(device), *_stage2_cases(device)]


def _stage1_cases(device: torch.device) -> list[Case]:
    published = load_config("ffhq256", SMALL)
    plain = load_config("ffhq256", {**SMALL, "mask.kind": "none", "mask.mask_ratio": 0.0})
    side = published.data.resolution
    images = torch.rand(N_IMAGES, 3, side, side, device=device) * 2 - 1
    cases = []
    for way, config in (("plain VQ", plain), ("MQ-VAE", published)):
        model = _stage1(config, device)
        whole = _step(partial(_restored, model, images), model)
        cases.append(Case(f"stage-1 step, {side} px, L1 loss", way, "plain VQ", whole))
        cases += [
            Case(f"stage-1 step, of which {part}", way, "plain VQ", run)
            for part, run in _parts(model, images).items()
        ]
    return cases


def _stage1(config: Config, device: torch.device) -> MQVAE | PlainVQ:
    torch.manual_seed(0)
    model = build_stage1(config).train()
    return model.to(device, memory_format=quickest_layout(device))  # type: ignore[call-overload]


def _restored(model: TokenModel, images: Tensor) -> Tensor:
    return model(images).images


def _loss(model: PairModel, pairs: Pairs) -> Tensor:
    return model.loss(pairs).total


def _parts(model: MQVAE | PlainVQ, images: Tensor) -> dict[str, Callable[[], None]]:
    """Forward and backward of the encoder, of what stands between, and of the decoder, each by itself.

    The plain model's decoder begins with a convolution and a middle block in the de-mask module's place.
    """
    with torch.no_grad():
        kept = model.select(images)
        features = model.encoder(images)
    regions = kept.features.detach().requires_grad_()
    positions = kept.positions
    return {
        "encoder": _step(lambda: model.encoder(images), model),
        "mask and quantiser": _step(lambda: _quantised(model, features.detach().requires_grad_()), model),
        "de-mask module and decoder": _step(lambda: model.restore(regions, positions), model),
    }


def _quantised(model: MQVAE | PlainVQ, features: Tensor) -> Tensor:
    if isinstance(model, MQVAE):
        return model.quantizer(model.mask(features).features).features
    return model.quantizer(model.project_in(features.flatten(2).transpose(1, 2))).features


def _stage2_cases(device: torch.device) -> list[Case]:
    config = TransformerConfig(code_layers=4, position_layers=4, width=256, heads=8)
    side, cases = 16, []
    for ratio in (0.0, 0.25, 0.5, 0.75):
        n_pairs = n_kept(ratio, side**2)
        model = build_stage2(config, codebook_size=1024, side=side, n_pairs=n_pairs).to(device).train()
        codes = torch.randint(1024, (8, n_pairs), device=device)
        positions = torch.arange(n_pairs, device=device).expand(8, -1)
        pairs = Pairs(codes, positions, side)
        run = _step(partial(_loss, model, pairs), model)
        cases.append(Case("stage-2 step, 16 x 16 grid, 8 images", f"{ratio:.0%} masked", "0% masked", run))
    return cases


def _step(forward: Callable[[], Tensor], model: nn.Module) -> Callable[[], None]:
    def run() -> None:
        result = forward()
        F.l1_loss(result, torch.zeros_like(result)).backward()
        model.zero_grad(set_to_none=True)

    return run
