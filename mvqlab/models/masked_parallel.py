"""Masked parallel: what is hidden is predicted at all places at once from what is known (Chang et al. 2022).

    an image on the grid      k_1 . . k_2 . k_3 . .      a code, or "dropped" (.) as its region was
    with some of it hidden    k_1 . ? ? . ? ? .
    bidirectional transformer, reads all places          at each ?: K codes and "dropped"

So one model says what stands somewhere and whether anything does; where stage 1 drops nothing it is MaskGIT
on the full grid, otherwise MaskGIT on kept pairs. Training hides as much as drawing will meet; drawing begins
with all hidden and fixes the surest places first, see `sampling.parallel`. The schedule is the published one,
a cosine (section 3.2 of arXiv 2202.04200).

What an image costs is known as a bound alone, that of drawing its places one by one in a random order
(Uria et al. 2014; Hoogeboom et al. 2022, equation 8): L times the mean over hidden places, their number drawn
evenly from 1 to L. Drawing many at a time is quicker and costs more, by an amount that nobody computes.
"""

from __future__ import annotations

import math
from typing import NoReturn

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from mvqlab.config import SamplingConfig, TransformerConfig
from mvqlab.models.masking import ranks_of
from mvqlab.models.pair_model import NoOrderError, PairLoss, PairModel, PairNats
from mvqlab.models.pairs import Pairs
from mvqlab.models.start import Start
from mvqlab.models.transformer import BidirectionalTransformer, Head, initialise

N_ESTIMATES = 16  # how often an image is hidden in part to estimate what it costs


class MaskedParallel(PairModel):
    """One bidirectional transformer of code_layers + position_layers blocks over the L places of the grid."""

    def __init__(
        self,
        config: TransformerConfig,
        *,
        codebook_size: int,
        side: int,
        n_pairs: int,
        start: Start | None = None,
        has_end: bool = False,
    ) -> None:
        """Build for `codebook_size` codes K on a grid of L = side * side places; see `Stackformer`.

        n_pairs: how many places are not dropped; where images have more and fewer (`has_end`), the most.
        """
        super().__init__()
        self.side, self.n_pairs, self.codebook_size, self.has_end = side, n_pairs, codebook_size, has_end
        self.can_drop = has_end or n_pairs < side**2
        self.predicts = ("position", "code") if self.can_drop else ("code",)
        self.position_weight = config.position_weight
        self.dropped, self.hidden = codebook_size, codebook_size + 1
        self.code_embedding = nn.Embedding(codebook_size + 3, config.width)  # codes, dropped, hidden, start
        self.place_embedding = nn.Parameter(waves(side, config.width))
        self.start = start or Start()
        self.dropout = nn.Dropout(config.dropout)
        layers = config.code_layers + config.position_layers
        self.transformer = BidirectionalTransformer(
            layers, config.width, config.heads, config.dropout, config.activation_checkpointing
        )
        self.head = Head(config.width, codebook_size + self.can_drop)
        self.apply(initialise)

    def read(
        self, tokens: Int[Tensor, "B L"], conditions: Int[Tensor, "B ..."] | None = None
    ) -> Float[Tensor, "B L n"]:
        """Logits (B, L, K + 1) of what stands at each place, from all `tokens` (B, L); K where none drops."""
        start = self.start(self.code_embedding.weight[self.hidden + 1], len(tokens), conditions)
        x = self.code_embedding(tokens) + self.place_embedding  # (B, L, width)
        x = self.dropout(torch.cat([start, x], dim=1))  # (B, n_prefix + 1 + L, width)
        states = self.transformer(x, self.padding_mask(conditions, 1 + tokens.shape[1]))
        return self.head(states[:, -tokens.shape[1] :])  # (B, L, width) -> (B, L, n)

    def tokens(self, pairs: Pairs) -> Int[Tensor, "B L"]:
        """What stands at each place of the grid: its code, or `dropped`."""
        places = torch.full((len(pairs), self.side**2 + 1), self.dropped, device=pairs.codes.device)
        return places.scatter(1, pairs.positions, pairs.codes)[:, :-1]  # (B, L + 1), padding at L, to (B, L)

    def loss(self, pairs: Pairs, conditions: Int[Tensor, "B ..."] | None = None) -> PairLoss:
        """Cross-entropy of what is hidden, as nats a pair: L times an image's mean over hidden places.

        In training the share that is hidden goes as drawing meets it, cos(pi u / 2) with u even in [0, 1).
        Else it is even itself: then the loss estimates the bound above. What is hidden hangs on the pairs
        alone, so that the same ones always cost the same, and others hide other places.
        """
        n_images, device = len(pairs), pairs.codes.device
        if self.training:
            evenly, generator = torch.rand(n_images, device=device), None
            shares = torch.cos(evenly * math.pi / 2)  # (B,)
        else:
            generator = generator_seeded_by(self.tokens(pairs))
            shares = spread_evenly(n_images, generator)
        codes, positions = self._nats_where_hidden(pairs, conditions, shares, generator)  # (B, L) each
        n_pairs = pairs.lengths.sum()
        of_codes, of_positions = codes.sum() / n_pairs, positions.sum() / n_pairs
        if not self.can_drop:
            return PairLoss(of_codes, None, of_codes)
        return PairLoss(of_codes, of_positions, of_codes + self.position_weight * of_positions)

    def nats_of_each(self, pairs: Pairs, conditions: Int[Tensor, "B ..."] | None = None) -> PairNats:
        """As in `PairModel`, a bound, estimated by `N_ESTIMATES` parts hidden, which hang on the pairs alone.

        What it costs to say of the other places that they are dropped is shared by an image's pairs alike.
        """
        generator = generator_seeded_by(self.tokens(pairs))
        codes = positions = torch.zeros((), device=pairs.codes.device)
        first = spread_evenly(len(pairs), generator)  # (B,)
        for n in range(N_ESTIMATES):  # each image's shares lie evenly between 0 and 1
            shares = (first + n / N_ESTIMATES) % 1.0
            found = self._nats_where_hidden(pairs, conditions, shares, generator)
            codes, positions = codes + found[0] / N_ESTIMATES, positions + found[1] / N_ESTIMATES
        index = pairs.positions.clamp(max=self.side**2 - 1)  # any place will do for padding
        of_codes, of_positions = codes.gather(1, index), positions.gather(1, index)  # (B, L) -> (B, N)
        of_dropped = (positions * ~pairs.is_kept).sum(dim=1) / pairs.lengths  # (B,), to each pair
        of_positions = of_positions + of_dropped.unsqueeze(1)
        return PairNats(*(x.masked_fill(pairs.is_padding, 0.0) for x in (of_codes, of_positions)))

    def _nats_where_hidden(
        self,
        pairs: Pairs,
        conditions: Int[Tensor, "B ..."] | None,
        shares: Float[Tensor, " B"],
        generator: torch.Generator | None,
    ) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B L"]]:
        """Hide a share of each image's places, at least one; nats of code and of being kept where hidden.

        Each is L over the number hidden times what it cost, 0 elsewhere: the sum over places estimates what
        the image costs.
        """
        tokens = self.tokens(pairs)
        n_places = tokens.shape[1]
        n_hidden = (shares * n_places).ceil().clamp(1, n_places)  # (B,)
        noise = torch.rand(tokens.shape, device=tokens.device, generator=generator)
        is_hidden = ranks_of(noise) < n_hidden.unsqueeze(1)  # (B, L) against (B, 1)
        logits = self.read(tokens.masked_fill(is_hidden, self.hidden), conditions)  # (B, L, n)
        codes, positions = self._nats(logits, tokens)
        weight = is_hidden * (n_places / n_hidden).unsqueeze(1)  # (B, L)
        return codes * weight, positions * weight

    def _nats(
        self, logits: Float[Tensor, "B L n"], tokens: Int[Tensor, "B L"]
    ) -> tuple[Float[Tensor, "B L"], Float[Tensor, "B L"]]:
        """Nats of each code (B, L), 0 where there is none, and of whether there is one (B, L)."""
        in_all = F.cross_entropy(logits.mT, tokens, reduction="none")  # (B, L)
        if not self.can_drop:
            return in_all, torch.zeros_like(in_all)
        is_kept = tokens != self.dropped
        positions = F.binary_cross_entropy_with_logits(
            self.log_odds(logits), is_kept.to(logits.dtype), reduction="none"
        )
        return (in_all - positions) * is_kept, positions

    def log_odds(self, logits: Float[Tensor, "B L n"]) -> Float[Tensor, "B L"]:
        """Log of the odds (B, L) that a place is kept: all codes together, against `dropped`."""
        return logits[..., : self.codebook_size].logsumexp(dim=-1) - logits[..., self.dropped]

    def drawing_steps(self, settings: SamplingConfig) -> int:
        """As in `PairModel`: `sampling.parallel_steps`, each of which fixes many places."""
        return settings.parallel_steps

    def places_read(self, settings: SamplingConfig) -> float:
        """As in `PairModel`: all places are read anew in every step."""
        return float(settings.parallel_steps)

    def forward(self, pairs: Pairs, conditions: Int[Tensor, "B ..."] | None = None) -> NoReturn:
        """There are no logits of each pair given those before it. Raises NoOrderError."""
        raise no_order()

    def begin(self, *_: object, **__: object) -> NoReturn:
        """There is nothing to keep between pairs. Raises NoOrderError."""
        raise no_order()

    def next_pair(self, *_: object, **__: object) -> NoReturn:
        """There is no next pair. Raises NoOrderError."""
        raise no_order()


def no_order() -> NoOrderError:
    """What is said where something needs a model that draws one pair after the other."""
    return NoOrderError(
        "transformer.model=masked_parallel predicts all hidden places at once, so no pair comes after "
        "another: this needs stackformer or raster"
    )


def waves(side: int, width: int) -> Float[Tensor, "L width"]:
    """What places (L, width) of a grid begin as: sines and cosines of row and column, a tenth high.

    No order tells a place of its neighbours here, which with zeros, as in the models that have one, would be
    found hundreds of steps later.
    """
    n = width // 4
    frequencies = math.pi / 2 * 100.0 ** -(torch.arange(n) / max(1, n))  # (width / 4,)
    row, column = torch.arange(side**2) // side, torch.arange(side**2) % side  # (L,)
    angles = [place.unsqueeze(1) * frequencies for place in (row, column)]  # (L, width / 4) each
    found = torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)
    return 0.1 * F.pad(found, (0, width - 4 * n))  # (L, 4 n) -> (L, width)


def generator_seeded_by(tokens: Int[Tensor, "B L"]) -> torch.Generator:
    """A generator whose draws are the same for the same `tokens`, and others for others."""
    numbers = torch.arange(1, tokens.numel() + 1, device=tokens.device).view_as(tokens)
    seed = int(((tokens + 1) * numbers).sum() % 2**31)
    return torch.Generator(tokens.device).manual_seed(seed)


def spread_evenly(n_images: int, generator: torch.Generator) -> Float[Tensor, " B"]:
    """Shares (B,) in [0, 1), one in each B-th part of it, in a random order."""
    order = torch.randperm(n_images, device=generator.device, generator=generator)
    inside = torch.rand(n_images, device=generator.device, generator=generator)
    return (order + inside) / n_images
