"""What quantisers have in common whose rule is a module of lucidrains' vector-quantize-pytorch.

The package knows rows of features and returns them quantised, with their codes and perhaps a loss. Here that
becomes a `Quantizer`: rows of any shape, padding, float32 whatever autocast does, indices that are int64.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mvqlab.models.codebook import in_float32
from mvqlab.models.quantizer import Quantised, Quantizer
from mvqlab.support.optional import required


class PackagedQuantizer(Quantizer):
    """A quantiser by the package's class `rule`, built with `settings`.

    kind: what `quantizer.kind` calls it. Its codes do not begin as features, so it needs no warm-up.
    """

    def __init__(self, kind: str, rule: str, **settings: Any) -> None:
        super().__init__()
        package = required("vector_quantize_pytorch", "rivals", f"quantizer.kind={kind}")
        self.rule = getattr(package, rule)(**settings)

    @property
    def size(self) -> int:
        """K."""
        return int(self.rule.codebook_size)

    @property
    def codes(self) -> Float[Tensor, "K n_z"]:
        """The vectors of all codes, by index."""
        return self.look_up(torch.arange(self.size, device=next(self.rule.buffers()).device))

    def nearest(self, features: Float[Tensor, "*any n_z"]) -> Int[Tensor, "*any"]:
        """Indices of the codes that `features` get."""
        return self.quantise(features.detach()).codes

    def look_up(self, codes: Int[Tensor, "*any"]) -> Float[Tensor, "*any n_z"]:
        """Vectors of the codes with the indices `codes`."""
        vectors = self.rule.indices_to_codes(codes.reshape(-1))  # (...) -> (M,) -> (M, n_z)
        return vectors.reshape(*codes.shape, vectors.shape[-1])  # (M, n_z) -> (..., n_z)

    def quantise(self, features: Float[Tensor, "*any n_z"]) -> Quantised:
        """`forward` for features that are all real, in rows of any shape."""
        rows = features.reshape(1, -1, features.shape[-1])  # (..., n_z) -> (1, M, n_z)
        with in_float32(features):
            quantised, codes, *loss = self.rule(rows.float())
        return Quantised(
            quantised.to(features.dtype).reshape(features.shape),
            codes.long().reshape(features.shape[:-1]),
            loss[0].reshape(()) if loss else features.new_zeros(()),
        )
