"""In-painting of what matters: some pairs of an image stay, the others are drawn anew.

    kept = part_of(mqvae.encode(image).pairs, region)      # the pairs inside the region, which stay
    pairs = complete_pairs(stackformer, kept, 4, settings, generator=generator)

Pairs are drawn in the model's own order, from first to last. Where positions rise, the next pair is either
a new one before the next kept place, or that place itself, whose code is then the kept one; the model's law
of positions decides which (given the code that was drawn, in a code-first model). So a new pair knows the
kept ones before it, not those that come after it: this is no draw from the exact conditional law, which
would need to look ahead. By falling score, kept pairs stand first and all new ones know them. The raster
transformer is told kept codes in their turn. Where sequences have an end, whether it comes is drawn before
each pair, once all kept pairs are placed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mvqlab.config import SamplingConfig
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import NO_CODE, Pairs, is_among
from mvqlab.sampling.draw_pairs import rows_to_read
from mvqlab.sampling.evaluation_mode import evaluation_mode
from mvqlab.sampling.filters import FORBIDDEN, choose, guided


@dataclass(frozen=True)
class KeptPart:
    """The pairs of one image that stay, in the order of the model: codes (m,), positions (m,).

    region (L,) bool: where nothing is drawn. A place in it without a code was dropped, and stays so.
    """

    codes: Tensor
    positions: Tensor
    region: Tensor

    @property
    def n_pairs(self) -> int:
        """m."""
        return len(self.codes)


def part_of(pairs: Pairs, region: Tensor) -> KeptPart:
    """The pairs of one image, `pairs` (1, N), that lie in `region` (L,) bool or (h, w) bool.

    Raises ValueError for a region of another size, and where `pairs` are of several images.
    """
    region, pairs = region.flatten(), pairs.trimmed()
    if len(pairs) != 1:
        raise ValueError(f"a part is kept of one image, not of {len(pairs)}")
    if len(region) != pairs.side**2:
        raise ValueError(f"the region has {len(region)} places, the image {pairs.side} x {pairs.side}")
    inside = region[pairs.positions[0]]
    return KeptPart(pairs.codes[0, inside], pairs.positions[0, inside], region)


def box(side: int, top: int, left: int, bottom: int, right: int) -> Tensor:
    """A region (L,) bool: rows `top` to `bottom` and columns `left` to `right` of the grid, ends left out.

    Raises ValueError for a box that is empty or reaches beyond the grid.
    """
    if not (0 <= top < bottom <= side and 0 <= left < right <= side):
        raise ValueError(
            f"the box {top},{left},{bottom},{right} (top,left,bottom,right) is empty or reaches beyond the "
            f"{side} x {side} regions of an image"
        )
    region = torch.zeros(side, side, dtype=torch.bool)
    region[top:bottom, left:right] = True
    return region.flatten()


@torch.no_grad()
def complete_pairs(
    model: PairModel,
    kept: KeptPart,
    n_images: int,
    settings: SamplingConfig,
    *,
    generator: torch.Generator,
    conditions: Tensor | None = None,
    progress: Callable[[], object] | None = None,
) -> Pairs:
    """Draw `n_images` images (n_images, n) around the same kept pairs; these come out as they are.

    n is the model's number of pairs, or fewer where the places outside the region are fewer; where sequences
    have an end, that of the longest image. generator: on the model's device. conditions, progress: as in
    `sample_pairs`, guidance included. The whole prefix is read anew for every pair: there is no cache. The
    model's training mode is left as it was.
    """
    _, conditions = rows_to_read(model, n_images, settings, conditions)
    run = _Completion(model, kept, n_images, settings, generator, conditions)
    with evaluation_mode(model):
        for n in range(model.n_pairs):
            if n < run.n_pairs and not run.has_ended.all():
                run.add_pair()
            if progress is not None:
                progress()
    pairs = Pairs(run.codes, run.positions, model.side)
    return pairs.trimmed() if model.has_end else pairs


def places_for_next(
    region: Tensor, last: Tensor, next_kept: Tensor, n_new_left: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Where the next pair may go if positions rise: new ones (B, L) bool, and whether the kept one may (B,).

    region (L,): where nothing is drawn. last (B,): the last pair's place. next_kept (B,): the next kept
    pair's place, L where there is none. n_new_left (B,): how many new pairs are still to come. Places are
    left for all of them. None: as many or as few as there may be.
    """
    n_places = len(region)
    places = torch.arange(n_places, device=region.device)
    free = ~region
    if n_new_left is None:
        new = free & (places > last.unsqueeze(1)) & (places < next_kept.unsqueeze(1))
        return new, next_kept < n_places
    free_after = free.flip(0).cumsum(0).flip(0) - free.long()  # (L,) free places beyond each
    room = free_after.unsqueeze(0) >= (n_new_left - 1).unsqueeze(1)
    new = free & (places > last.unsqueeze(1)) & (places < next_kept.unsqueeze(1)) & room
    new &= (n_new_left > 0).unsqueeze(1)
    after_kept = torch.cat([free_after, free_after.new_tensor([-1])])[next_kept]
    return new, (next_kept < n_places) & (after_kept >= n_new_left)


class _Completion:
    """Sequences that grow by a pair at a time."""

    def __init__(
        self,
        model: PairModel,
        kept: KeptPart,
        n_images: int,
        settings: SamplingConfig,
        generator: torch.Generator,
        conditions: Tensor | None,
    ) -> None:
        self.model, self.settings, self.generator = model, settings, generator
        self.conditions = conditions
        device = generator.device
        self.region = kept.region.to(device)
        self.kept_codes, self.kept_positions = kept.codes.to(device), kept.positions.to(device)
        self.n_places = model.side**2
        self.n_new = min(model.n_pairs - kept.n_pairs, int((~self.region).sum()))
        self.n_pairs = kept.n_pairs + self.n_new
        self.codes = torch.zeros(n_images, 0, dtype=torch.long, device=device)
        self.positions = torch.zeros_like(self.codes)
        self.n_kept_done = torch.zeros(n_images, dtype=torch.long, device=device)
        self.has_ended = torch.zeros(n_images, dtype=torch.bool, device=device)

    def add_pair(self) -> None:
        """Draw a pair for every image, or take the kept one that is next."""
        next_kept = self._next(self.kept_positions, self.n_places)
        new, may_keep = self._choices(next_kept)
        kept_place = torch.zeros_like(new)
        here = may_keep.nonzero().flatten()
        kept_place[here, next_kept[here]] = True
        codes = torch.zeros_like(self.n_kept_done)
        positions = torch.full_like(codes, self.codes.shape[1])  # a raster model's, which is not asked
        possible = new | kept_place
        if self.model.has_end:
            self.has_ended |= self._ends(possible, may_end=next_kept == self.n_places)
            possible = possible | self.has_ended.unsqueeze(1)  # any place: it is not taken
        for part in self.model.predicts:
            logits = self._logits(part, codes, positions)
            if part == "position":
                positions = self._choose(part, logits.masked_fill(~possible, FORBIDDEN))
            else:
                codes = self._choose(part, logits)
        codes = codes.masked_fill(self.has_ended, NO_CODE)
        positions = positions.masked_fill(self.has_ended, self.n_places)
        is_kept = F.pad(kept_place, (0, 1)).gather(1, positions.unsqueeze(1)).squeeze(1)
        codes = torch.where(is_kept, self._next(self.kept_codes, 0), codes)
        self.codes = torch.cat([self.codes, codes.unsqueeze(1)], dim=1)
        self.positions = torch.cat([self.positions, positions.unsqueeze(1)], dim=1)
        self.n_kept_done = self.n_kept_done + is_kept

    def _ends(self, possible: Tensor, may_end: Tensor) -> Tensor:
        """Which images (B,) end here: as likely as the model says, and surely where no place is `possible`.

        Not before their first pair, nor while kept pairs are left, where they may not.
        """
        part = self.model.predicts[0]
        n = self.model.codebook_size if part == "code" else self.n_places
        nothing = torch.zeros_like(self.n_kept_done)
        logits = self._logits(part, nothing, nothing, with_end=True)
        if part == "position":
            logits = logits.masked_fill(~F.pad(possible, (0, 1), value=True), FORBIDDEN)
        ends = (self._choose(part, logits) == n) | ~possible.any(dim=1)
        return ends & may_end & (self.codes.shape[1] > 0)

    def _next(self, of_kept: Tensor, otherwise: int) -> Tensor:
        """The entry of the next kept pair for every image (B,), `otherwise` where all are done."""
        return torch.cat([of_kept, of_kept.new_tensor([otherwise])])[self.n_kept_done]

    def _choices(self, next_kept: Tensor) -> tuple[Tensor, Tensor]:
        n_new_left = self.n_new - (self.codes.shape[1] - self.n_kept_done)
        nothing = torch.zeros(len(next_kept), self.n_places, dtype=torch.bool, device=next_kept.device)
        if self.model.predicts == ("code",):
            turn = self.codes.shape[1]
            is_turn_of_kept = next_kept == turn
            nothing[:, turn] = ~is_turn_of_kept
            return nothing, is_turn_of_kept
        if self.model.order == "score":
            is_kept_left = next_kept < self.n_places
            free = ~self.region & ~is_among(self.positions, self.n_places)
            return free & ~is_kept_left.unsqueeze(1), is_kept_left
        last = self.positions[:, -1] if self.positions.shape[1] else torch.full_like(next_kept, -1)
        return places_for_next(self.region, last, next_kept, None if self.model.has_end else n_new_left)

    def _logits(self, part: str, codes: Tensor, positions: Tensor, with_end: bool = False) -> Tensor:
        """Logits (B, n) of the next pair's `part`; what stands in that pair cannot be heard by them.

        `with_end`: and behind them that of the end.
        """
        pairs = Pairs(
            torch.cat([self.codes, codes.unsqueeze(1)], dim=1),
            torch.cat([self.positions, positions.unsqueeze(1)], dim=1),
            self.model.side,
        )
        if self.settings.is_guided:
            pairs = Pairs(pairs.codes.repeat(2, 1), pairs.positions.repeat(2, 1), pairs.side)
        made = self.model(pairs, self.conditions)
        logits = (made.code_logits if part == "code" else made.position_logits)[:, -1]
        logits = logits[:, : with_end + (self.model.codebook_size if part == "code" else self.n_places)]
        if not self.settings.is_guided:
            return logits
        settings = self.settings
        return guided(logits, settings.code_guidance if part == "code" else settings.position_guidance)

    def _choose(self, part: str, logits: Tensor) -> Tensor:
        settings = self.settings
        k, p = (
            (settings.code_top_k, settings.code_top_p)
            if part == "code"
            else (settings.position_top_k, settings.position_top_p)
        )
        return choose(logits, settings.temperature, k, p, self.generator)
