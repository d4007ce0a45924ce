"""What a file of arms of your own imports, see ablations/ARMS.md: decorators that give a class a word.

    @mask_scorer("centre")              mask.kind=centre
    class CentreScorer(nn.Module): ...

    mask_scorer      mask.kind          build() -> forward(features (B, d, h, w), context) -> scores (B, L)
    learned_mask     mask.kind          build(d, n_z, N, scorer, (fewest, most), config) -> an `AdaptiveMask`
    learned_scorer   mask.scorer        build(d) -> the same, scores in (0, 1), and it learns by them
    quantizer        quantizer.kind     build(config) -> a `Quantizer`
    pair_model       transformer.model  build(config, codebook_size=, side=, n_pairs=, start=, has_end=) ->
                                        a `PairModel`

What is decorated is a class or a function that makes one, and stays as it is. `check` tries whether an arm
keeps what the rest of the lab relies on.
"""

from mvqlab.arms.checks import check, check_mask, check_pair_model, check_quantizer, check_scorer
from mvqlab.arms.words import learned_mask, learned_scorer, mask_scorer, pair_model, quantizer
from mvqlab.config.own_arms import ArmError, use_arms

__all__ = [
    "ArmError",
    "check",
    "check_mask",
    "check_pair_model",
    "check_quantizer",
    "check_scorer",
    "learned_mask",
    "learned_scorer",
    "mask_scorer",
    "pair_model",
    "quantizer",
    "use_arms",
]
