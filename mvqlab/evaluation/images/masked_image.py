"""One image under any mask: encoded once, decoded anew for every choice of regions.

    encoded = EncodedImage(mqvae, image)
    encoded.keep(encoded.best(16))            # the 16 regions that score highest
    encoded.keep(torch.tensor([3, 4, 11]))    # regions chosen by hand

What a slider changes lies behind the encoder, so nothing in front of it runs again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mvqlab.data.pixels import to_uint8
from mvqlab.evaluation.images.choice import Rank, by_score
from mvqlab.evaluation.images.rate import code_bits, position_bits
from mvqlab.evaluation.images.reconstruction import image_scores
from mvqlab.models.mask_context import MaskContext
from mvqlab.models.masking import keep_best, n_kept
from mvqlab.models.mqvae import MQVAE, TokenModel
from mvqlab.support.one_thread import one_thread
from mvqlab.training.losses import PerceptualLoss


@dataclass(frozen=True)
class MaskedImage:
    """What an image is from some of its regions.

    image (3, H, W) uint8. is_kept (L,) bool. codes (N,), positions (N,). psnr: dB, 100 at most. lpips: no
    unit, None where there is no network. bits: N log2 K for the codes and log2 C(L, N) for their places,
    all codes and all choices of places taken as equally likely.
    """

    image: Tensor
    is_kept: Tensor
    codes: Tensor
    positions: Tensor
    psnr: float
    lpips: float | None
    bits: float


class EncodedImage:
    """An image (3, H, W) in [-1, 1] behind the encoder and the scorer of a model with learned scores.

    Raises ValueError for a model that has none, and for an image of another size than the model's.
    """

    def __init__(self, model: TokenModel, image: Tensor, perceptual: PerceptualLoss | None = None) -> None:
        model = require_scores(model)
        side = model.config.data.resolution
        if image.shape != (3, side, side):
            raise ValueError(f"the model reads images of {side} x {side} pixels, not {tuple(image.shape)}")
        self.model, self.perceptual = model, perceptual
        self.image, self.pixels = to_uint8(image), image.unsqueeze(0)  # (3, H, W), (1, 3, H, W)
        with torch.no_grad(), one_thread():
            self.features = model.encoder(self.pixels)
            self.scores = model.mask.score(self.features)

    def best(self, n: int, rank: Rank = by_score, seed: int = 0) -> Tensor:
        """Positions (n,) of the regions that `rank` puts first; a random rank is drawn from `seed`."""
        generator = torch.Generator().manual_seed(seed)
        ranked = rank(self.scores, MaskContext(images=self.pixels, generator=generator))
        return keep_best(ranked, n)[0][0]

    def best_at(self, mask_ratio: float, rank: Rank = by_score, seed: int = 0) -> Tensor:
        """The same, with the share of regions that is dropped."""
        return self.best(n_kept(mask_ratio, self.model.n_positions), rank, seed)

    @torch.no_grad()
    def keep(self, positions: Tensor | Sequence[int]) -> MaskedImage:
        """Quantise the regions at `positions` (N,), infer the rest. Raises ValueError if there are none."""
        positions = torch.as_tensor(positions, dtype=torch.long).sort().values
        if len(positions) == 0:
            raise ValueError("keep at least one region: nothing can be inferred from none")
        with one_thread():
            return self._decode(positions)

    def _decode(self, positions: Tensor) -> MaskedImage:
        model = self.model
        kept = model.mask.keep(self.features, self.scores, positions.unsqueeze(0))
        codes = model.quantizer.nearest(kept.features)
        restored = model.restore(model.quantizer.look_up(codes), kept.positions)
        image = to_uint8(restored, "reconstruction")
        scores = image_scores(self.image.unsqueeze(0), image, self.perceptual, with_ssim=False)
        lpips = None if self.perceptual is None else float(scores[f"lpips_{self.perceptual.net}"])
        n = len(positions)
        return MaskedImage(
            image=image[0],
            is_kept=kept.is_kept[0],
            codes=codes[0],
            positions=positions,
            psnr=float(scores["psnr"]),
            lpips=lpips,
            bits=code_bits(n, model.codebook_size) + position_bits(model.n_positions, n),
        )


def require_scores(model: TokenModel) -> MQVAE:
    """`model` as one with learned scores. Raises ValueError where it has none."""
    if not isinstance(model, MQVAE) or model.config.mask.kind != "adaptive":
        raise ValueError("this needs a model with learned scores: an MQ-VAE with mask.kind=adaptive")
    return model
