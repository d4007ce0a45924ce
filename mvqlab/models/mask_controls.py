"""Controls of the paper's mask: its scores upside down, and its product without its choice."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn

from mvqlab.config import MaskConfig
from mvqlab.models.masking import PUBLISHED, AdaptiveMask, KeptRegions


class UpsideDownMask(AdaptiveMask):
    """A control: learned scores as in the paper, of which the *lowest* are kept."""

    def ranked_by(self, scores: Float[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        """The scores, upside down."""
        return -scores


class ProductMask(AdaptiveMask):
    """A control: regions chosen by something that learns nothing, weighed by learned scores as in the paper.

    `gain` learns as f_s does, and has no say in what is kept. A random mask differs from the paper's by its
    choice *and* by the lack of the product; this one by its choice alone.
    """

    def __init__(
        self,
        feature_dim: int,
        code_dim: int,
        n: int,
        scorer: nn.Module,
        gain: nn.Module,
        n_in_training: tuple[int, int] | None = None,
        settings: MaskConfig = PUBLISHED,
    ) -> None:
        super().__init__(feature_dim, code_dim, n, scorer, n_in_training, settings)
        self.gain = gain

    def keep(
        self,
        features: Float[Tensor, "B d h w"],
        scores: Float[Tensor, "B L"],
        positions: Int[Tensor, "B N"],
    ) -> KeptRegions:
        """Keep the regions of `features` at `positions`, times their gain; `scores` are passed on."""
        return super().keep(features, self.gain(features), positions)._replace(scores=scores)
