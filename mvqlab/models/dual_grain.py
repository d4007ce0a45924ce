"""Dual grain (DQ-VAE, Huang et al., CVPR 2023, arXiv 2305.11718): four codes for some blocks, one for others.

    features (B, d, h, w) --learned 2 x 2 reduction--> coarse features (B, d, h/2, w/2)
    both --router--> scores (B, L/4): the F best blocks of 2 x 2 regions are fine, the others coarse

A *fine* block has a pair for each of its four regions, a *coarse* one a single pair for all of them, which
stands at the place of its upper left region. So N = L/4 + 3 F pairs stand for an image, and whatever takes
pairs goes on as it does: a block is coarse where its upper left region alone has a pair. Nothing is dropped
in the paper's sense, and nothing is inferred: the decoder's side copies a coarse block's code to its places.

Three things are this lab's own. The paper keeps to its budget by a loss on the mean share of fine blocks;
here it is exact, as of any other mask. Its gates are drawn by Gumbel-softmax; here they are straight-
through, the F best forward and the router's score backward, with Gumbel noise where `mask.exploration` asks
for it. And scores may be taught what coarse blocks lose, as those of `mask.kind: adaptive` are what dropped
regions lose (`mask.recipe: taught`); then gates pass no gradient.

Symbols: B images; d channels on a grid of h x w = L regions, numbered row by row, h = w even; L/4 blocks, F
of them fine; N pairs; n_z the dimension of a code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from mvqlab.config import MaskConfig
from mvqlab.models.demasking import NoDemask, on_grid, scatter_regions
from mvqlab.models.mask_context import NO_CONTEXT, MaskContext
from mvqlab.models.masking import PUBLISHED, AdaptiveMask, KeptRegions, keep_best
from mvqlab.models.pairs import is_among

# ---------------------------------------------------------------------------------------- regions and blocks


def n_fine(n: int, n_positions: int) -> int:
    """F, of L / 4 blocks of L = `n_positions` regions, that brings N = L/4 + 3 F nearest to `n`.

    Raises ValueError where that is nearer to fewer pairs than blocks, or to more than regions.
    """
    n_blocks = n_positions // 4
    fine = round((n - n_blocks) / 3)  # never a tie: thirds of whole numbers have no halves
    if not 0 <= fine <= n_blocks:
        raise ValueError(f"blocks of 2 x 2 regions have from {n_blocks} to {n_positions} pairs, not {n}")
    return fine


def n_pairs_of(fine: int, n_positions: int) -> int:
    """N: the pairs of L = `n_positions` regions with `fine` blocks."""
    return n_positions // 4 + 3 * fine


def repeated(blocks: Shaped[Tensor, "B c h2 w2"]) -> Shaped[Tensor, "B c h w"]:
    """A map of blocks as one of regions: each block's numbers at all of its four places."""
    return blocks.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)  # (h/2, w/2) -> (h, w)


def upper_left(side: int, device: torch.device | None = None) -> Int[Tensor, " L"]:
    """For every region of a grid of `side` * `side`, the place of its block's upper left region."""
    start = torch.arange(side, device=device) // 2 * 2  # (side,), the even number at or before each
    return (start.unsqueeze(1) * side + start).flatten()  # (side, 1) + (side,) -> (L,)


# ----------------------------------------------------------------------------------------- the encoder's side


class DualGrainMask(AdaptiveMask):
    """Score blocks, give the F best four pairs each and the others one.

    scorer: the router, which reads of each block the mean of its fine features and its coarse one, 2 d
        channels, and gives it a score in (0, 1).
    n, n_in_training: as of `MaskModule`, of which the nearest that whole blocks can make are taken.
    side: h = w, even.

    A gate of 0 or 1 a block mixes fine and coarse features; its gradient is passed to the score
    (straight-through), for which it is (mean of the fine - the coarse feature) times that of a coarse
    block's pair, and the sum of (fine - coarse) times those of a fine block's four. With the setting
    `product: none` it is not, and scores learn by a loss of their own (`training.losses.scorer_loss`): what
    coarse blocks lose at the three regions without a pair.
    """

    def __init__(
        self,
        feature_dim: int,
        code_dim: int,
        n: int,
        scorer: nn.Module,
        n_in_training: tuple[int, int] | None = None,
        settings: MaskConfig = PUBLISHED,
        *,
        side: int,
    ) -> None:
        if side % 2:
            raise ValueError(f"a grid of {side} x {side} regions has no blocks of 2 x 2")
        self.side = side
        fewest, most = (self.nearest(n) for n in n_in_training or (n, n))
        super().__init__(feature_dim, code_dim, self.nearest(n), scorer, (fewest, most), settings)
        self.reduce = nn.Conv2d(feature_dim, feature_dim, 2, stride=2)

    @property
    def learns_by_gates(self) -> bool:
        """Whether scores learn by the gates' gradients."""
        return self.settings.product_in_use != "none"

    def nearest(self, n: int) -> int:
        """The number of pairs nearest to `n` that whole blocks make."""
        return n_pairs_of(n_fine(n, self.side**2), self.side**2)

    def n_of_batch(self, n_positions: int) -> int:
        """N for this batch: `n`; in training, of an F that is drawn uniformly.

        As `MaskModule.n_of_batch`, but in blocks.
        """
        if not self.training:
            return self.nearest(self.n)
        fewest, most = (n_fine(n, n_positions) for n in self.n_in_training)
        return n_pairs_of(self.drawn(fewest, most, n_positions // 4), n_positions)

    def score(
        self, features: Float[Tensor, "B d h w"], context: MaskContext = NO_CONTEXT
    ) -> Float[Tensor, "B L"]:
        """The score of every region of `features`, which is its block's."""
        both = torch.cat([F.avg_pool2d(features, 2), self.reduce(features)], dim=1)  # (B, 2 d, h/2, w/2)
        if not self.learns_by_gates:
            both = both.detach()
        return self.of_regions(self.scorer(both, context))  # (B, L/4) -> (B, L)

    def ranked_by(self, scores: Float[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        """What blocks are chosen by, at each of their regions: `scores`, with some noise in training."""
        return self.of_regions(super().ranked_by(self.of_blocks(scores)))

    def best(self, ranked: Float[Tensor, "B L"], n: int) -> Int[Tensor, "B N"]:
        """Positions, rising, of the pairs where the blocks that rank highest on average are fine.

        N is the number nearest to `n` that whole blocks make.
        """
        _, is_fine = keep_best(self.of_blocks(ranked), n_fine(n, self.side**2))  # (B, L/4)
        corners = upper_left(self.side, ranked.device)  # (L,)
        places = torch.arange(len(corners), device=ranked.device)  # (L,)
        has_pair = self.of_regions(is_fine) | (places == corners)  # (B, L)
        # as many of every image, so that the best of ones and zeros are the ones
        return keep_best(has_pair.float(), self.nearest(n))[0]

    def keep(
        self,
        features: Float[Tensor, "B d h w"],
        scores: Float[Tensor, "B L"],
        positions: Int[Tensor, "B N"],
    ) -> KeptRegions:
        """The pairs of `features` at `positions`: a block is fine where its lower right region is among them.

        `scores` are what the gates' gradients go to.
        """
        is_fine = self.is_fine(positions)  # (B, 1, h/2, w/2)
        soft = self.of_blocks(scores).unflatten(1, is_fine.shape[1:])  # (B, L/4) -> (B, 1, h/2, w/2)
        of_blocks = is_fine + (soft - soft.detach()) if self.learns_by_gates else is_fine.float()
        gate = repeated(of_blocks)  # (B, 1, h, w), ones and zeros
        mixed = gate * features + (1.0 - gate) * repeated(self.reduce(features))  # (B, d, h, w)
        # a coarse block's four places are all its coarse feature, but their gates' gradients differ
        merged = torch.where(repeated(is_fine), mixed, repeated(F.avg_pool2d(mixed, 2)))
        return super().keep(merged, scores, positions)

    def weigh(self, kept: Float[Tensor, "B N n_z"], scores: Float[Tensor, "B N"]) -> Float[Tensor, "B N n_z"]:
        """The features `kept` as they are: gates have been at work already."""
        return kept

    def is_fine(self, positions: Int[Tensor, "B N"]) -> Bool[Tensor, "B 1 h2 w2"]:
        """True for the blocks whose lower right region is among `positions`."""
        has_pair = is_among(positions, self.side**2).unflatten(1, (1, self.side, self.side))  # (B, 1, h, w)
        return has_pair[..., 1::2, 1::2]  # (B, 1, h, w) -> (B, 1, h/2, w/2)

    def of_regions(self, blocks: Shaped[Tensor, "B blocks"]) -> Shaped[Tensor, "B L"]:
        """Numbers of blocks (B, L/4) as ones of regions (B, L)."""
        half = self.side // 2
        return repeated(blocks.unflatten(1, (1, half, half))).flatten(1)  # (B, 1, h/2, w/2) -> (B, L)

    def of_blocks(self, regions: Float[Tensor, "B L"]) -> Float[Tensor, "B blocks"]:
        """The mean over each block of numbers of regions (B, L): (B, L/4)."""
        grid = regions.unflatten(1, (1, self.side, self.side))  # (B, L) -> (B, 1, h, w)
        return F.avg_pool2d(grid, 2).flatten(1)  # (B, 1, h/2, w/2) -> (B, L/4)


# ----------------------------------------------------------------------------------------- the decoder's side


class CopyCoarse(NoDemask):
    """Quantised regions (B, N, n_z) at their positions, those of coarse blocks at all four of the block.

    Pairs may be some of an image's, in any order: where a region has a pair of its own, this is what it is;
    elsewhere its block's upper left one; where that is missing, too, the mask token, which training never
    shows.
    """

    def forward(
        self, regions: Float[Tensor, "B N n_z"], positions: Int[Tensor, "B N"]
    ) -> Float[Tensor, "B d h w"]:
        """The quantised `regions` at their `positions`, copied within coarse blocks, projected."""
        n_positions = self.side**2
        own = scatter_regions(regions, positions, self.mask_token, n_positions)  # (B, L, n_z)
        copies = own[:, upper_left(self.side, own.device)]  # (B, L, n_z)
        has_own = is_among(positions, n_positions).unsqueeze(-1)  # (B, L, 1)
        places = torch.where(has_own, own, copies)  # (B, L, n_z)
        return self.project(on_grid(places, self.side))  # (B, d, h, w)
