"""The vector quantiser: features to codes and back, with a straight-through gradient (section 3.1).

`Quantizer` is what every kind can do, `VectorQuantizer` the published kind.

Symbols: K codes e_k of dimension n_z, numbered from 0; z a feature, of which a batch of B images has N
each, or M = B * N in a row; beta the weight of the commitment loss; sg stops a gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mvqlab.config import QuantizerConfig
from mvqlab.models.codebook import Codebook, in_float32
from mvqlab.models.pairs import NO_CODE
from mvqlab.models.restarts import build_restart


class Quantised(NamedTuple):
    """What the quantiser returns; `...` is B, N, or M where features stand in one row.

    features: the chosen codes' vectors, with a straight-through gradient.
    codes: their indices; -1 at padding.
    loss: beta * mean (z - sg(e))^2, which moves the encoder towards the codebook.
    """

    features: Float[Tensor, "... n_z"]
    codes: Int[Tensor, " ..."]
    loss: Float[Tensor, ""]


def straight_through(
    features: Float[Tensor, "*any n_z"], quantised: Float[Tensor, "*any n_z"]
) -> Float[Tensor, "*any n_z"]:
    """`quantised` in the forward pass; its gradient goes to `features` unchanged (van den Oord 2017)."""
    return features + (quantised - features).detach()


class Quantizer(nn.Module):
    """Features (B, N, n_z) to one of K codes each, and codes back to vectors: what every kind can do.

    A kind says how many codes there are (`size`), which one a feature gets (`nearest`), what vector that is
    (`look_up`), and what training makes of it (`quantise`). See `models.quantizers` for those there are.

    is_warming_up: features pass as they are, and the codebook rests. This is the lab's optional warm-up, in
    which encoder and decoder first learn what there is to quantise. A training loop sets it before every step
    (`quantizer.start_step`), only training mode obeys it, and no checkpoint holds it. Kinds whose codes do
    not begin as features need none, and do not look at it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_warming_up = False

    @property
    def size(self) -> int:
        """K."""
        raise NotImplementedError

    @property
    def codes(self) -> Float[Tensor, "K n_z"]:
        """The vectors of all codes, by index."""
        raise NotImplementedError

    def nearest(self, features: Float[Tensor, "*any n_z"]) -> Int[Tensor, "*any"]:
        """Indices of the codes that `features` get outside training."""
        raise NotImplementedError

    def look_up(self, codes: Int[Tensor, "*any"]) -> Float[Tensor, "*any n_z"]:
        """Vectors of the codes with the indices `codes`."""
        raise NotImplementedError

    def initialise(self, features: Float[Tensor, "*any n_z"]) -> None:
        """Start the codes from `features`, for kinds whose codes begin so."""

    def quantise(self, features: Float[Tensor, "*any n_z"]) -> Quantised:
        """`forward` for features that are all real, in rows of any shape."""
        raise NotImplementedError

    def forward(
        self, features: Float[Tensor, "B N n_z"], is_padding: Bool[Tensor, "B N"] | None = None
    ) -> Quantised:
        """Quantise `features` (section 3.1). In training mode a codebook that follows them takes one step.

        is_padding: True for features that are none. Neither loss nor codebook sees them; their code is -1.
        """
        if is_padding is None:
            return self.quantise(features)
        return spread(self.quantise(features[~is_padding]), is_padding)  # (B, N, n_z) -> (M, n_z) and back


class VectorQuantizer(Quantizer):
    """The published kind: the nearest code of a codebook that follows the features while training."""

    gradient = staticmethod(straight_through)

    def __init__(self, config: QuantizerConfig) -> None:
        super().__init__()
        self.commitment_weight = config.commitment_weight
        self.codebook = Codebook(
            config.codebook_size, config.code_dim, config.ema_decay, build_restart(config)
        )

    @property
    def size(self) -> int:
        """K."""
        return self.codebook.size

    @property
    def codes(self) -> Float[Tensor, "K n_z"]:
        """The vectors of all codes, by index."""
        return self.codebook.codes

    def nearest(self, features: Float[Tensor, "*any n_z"]) -> Int[Tensor, "*any"]:
        """Indices of the codes nearest to `features`."""
        return self.codebook.nearest(features)

    def look_up(self, codes: Int[Tensor, "*any"]) -> Float[Tensor, "*any n_z"]:
        """Vectors of the codes with the indices `codes`."""
        return self.codebook.look_up(codes)

    def initialise(self, features: Float[Tensor, "*any n_z"]) -> None:
        """Start codes and averages from `features`, so that the first update is no jump."""
        self.codebook.initialise(features)

    def quantise(self, features: Float[Tensor, "*any n_z"]) -> Quantised:
        """`forward` for features that are all real, in rows of any shape."""
        codes = self.codebook.nearest(features)
        if self.training and self.is_warming_up:
            return Quantised(features, codes, features.new_zeros(()))
        quantised = self.codebook.look_up(codes)  # (..., n_z)
        with in_float32(features):
            loss = self.commitment_weight * F.mse_loss(features.to(quantised.dtype), quantised)
        if self.training:
            self.codebook.update(features, codes)
        return Quantised(self.gradient(features, quantised.to(features.dtype)), codes, loss)


def spread(packed: Quantised, is_padding: Bool[Tensor, "B N"]) -> Quantised:
    """`packed`, whose M features are real, at those places of (B, N) that are no padding.

    Zeros and the code -1 stand at padding.
    """
    features = packed.features.new_zeros(*is_padding.shape, packed.features.shape[-1])  # (B, N, n_z)
    features[~is_padding] = packed.features  # (M, n_z) to their places
    codes = torch.full(is_padding.shape, NO_CODE, device=packed.codes.device)  # (B, N)
    codes[~is_padding] = packed.codes  # (M,) to their places
    return Quantised(features, codes, packed.loss)
