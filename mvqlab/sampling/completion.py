"""In-painting of what matters: some pairs of an image stay, the others are drawn anew.

    kept = part_of(mqvae.encode(image).pairs, region)      # the pairs inside the region, which stay
    pairs = complete_pairs(stackformer, kept, 4, settings, generator=generator)

Pairs are drawn in the model's own order, from first to last. Where positions rise, the next pair is either
a new one before the next kept place, or that place itself, whose code is then the kept one; the model's law
of positions decides which (given the code that was drawn, in a code-first model). So a new pair knows the
kept ones before it, not those that come after it: this is no draw from the exact conditional law, which
would need to look ahead. By falling score, kept pairs stand first and all new ones know them. The raster
transformer is told kept codes in their turn. A masked parallel model needs to look nowhere: its new places
know all kept ones from the start. Where sequences have an end, it comes once all kept pairs are
placed. The rules are those of `sampling.chooser`, and some more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int
from torch import Tensor

from mvqlab.config import SamplingConfig
from mvqlab.models.masked_parallel import MaskedParallel
from mvqlab.models.pair_model import PairCache, PairModel
from mvqlab.models.pairs import Pairs, no_pairs
from mvqlab.sampling.chooser import Chooser, rows_to_read
from mvqlab.sampling.draw_pairs import joined
from mvqlab.sampling.grain import are_whole_blocks
from mvqlab.sampling.parallel import sample_in_parallel
from mvqlab.sampling.quick_way import quick_way
from mvqlab.support.evaluation_mode import evaluation_mode

CUT_BLOCKS = (
    "with mask.kind=dual_grain pairs stand for blocks of 2 x 2 regions, and the region to keep cuts some of "
    "them: begin and end it at even rows and columns"
)


@dataclass(frozen=True)
class KeptPart:
    """The pairs of one image that stay, in the order of the model: codes (m,), positions (m,).

    region (L,) bool: where nothing is drawn. A place in it without a code was dropped, and stays so.
    """

    codes: Int[Tensor, " m"]
    positions: Int[Tensor, " m"]
    region: Bool[Tensor, " L"]

    @property
    def n_pairs(self) -> int:
        """m."""
        return len(self.codes)


def part_of(pairs: Pairs, region: Bool[Tensor, ...]) -> KeptPart:
    """The pairs of one image, `pairs` (1, N), that lie in `region` (L,) bool or (h, w) bool.

    Raises ValueError for a region of another size, and where `pairs` are of several images.
    """
    region, pairs = region.flatten(), pairs.trimmed()  # (h, w) to (L,)
    if len(pairs) != 1:
        raise ValueError(f"a part is kept of one image, not of {len(pairs)}")
    if len(region) != pairs.side**2:
        raise ValueError(f"the region has {len(region)} places, the image {pairs.side} x {pairs.side}")
    inside = region[pairs.positions[0]]
    return KeptPart(pairs.codes[0, inside], pairs.positions[0, inside], region)


def box(side: int, top: int, left: int, bottom: int, right: int) -> Bool[Tensor, " L"]:
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
    return region.flatten()  # (h, w) to (L,)


@torch.no_grad()
def complete_pairs(
    model: PairModel,
    kept: KeptPart,
    n_images: int,
    settings: SamplingConfig,
    *,
    generator: torch.Generator,
    conditions: Int[Tensor, "B ..."] | None = None,
    progress: Callable[[], object] | None = None,
) -> Pairs:
    """Draw `n_images` images (n_images, n) around the same kept pairs; these come out as they are.

    n is the model's number of pairs, or fewer where the places outside the region are fewer; where sequences
    have an end, that of the longest image. generator: on the model's device. conditions, progress: as in
    `sample_pairs`, guidance and key/value cache included. The model's training mode is left as it was. Raises
    ValueError where pairs stand for blocks (dual grain) and the region cuts one.
    """
    if model.in_blocks and not are_whole_blocks(kept.region):
        raise ValueError(CUT_BLOCKS)
    if isinstance(model, MaskedParallel):
        tokens = _around(model, kept).to(generator.device).expand(n_images, -1)  # (B, L)
        return sample_in_parallel(
            model, tokens, settings, generator=generator, conditions=conditions, progress=progress
        )
    rules = ChooserAroundKept(model, kept, n_images, settings, generator)
    n_rows, conditions = rows_to_read(model, n_images, settings, conditions)
    drawn = [no_pairs(n_rows, model.side, generator.device)]
    with evaluation_mode(model), quick_way(model, n_rows, settings, generator, can_replay=False):
        cache = model.begin(n_rows, conditions)
        for n in range(model.n_pairs):
            if n < rules.n_pairs and not rules.is_done():
                drawn.append(new_or_kept_pair(model, cache, drawn[-1] if n else None, rules))
            if progress is not None:
                progress()
    pairs = joined(drawn)[:n_images]
    return pairs.trimmed() if model.has_end else pairs


def _around(model: MaskedParallel, kept: KeptPart) -> Int[Tensor, "1 L"]:
    """What stands at each place (1, L) at first: kept codes, dropped elsewhere in the region, else hidden."""
    tokens = torch.where(kept.region, model.dropped, model.hidden)  # (L,)
    return tokens.scatter(0, kept.positions, kept.codes).unsqueeze(0)


def new_or_kept_pair(
    model: PairModel, cache: PairCache, previous: Pairs | None, rules: ChooserAroundKept
) -> Pairs:
    """The pair (rows, 1) after the `previous` one, drawn anew or kept."""
    n_read = cache.n_read
    drawn = model.next_pair(cache, previous, rules)
    pair = rules.settled(drawn)
    if model.predicts == ("code", "position") and not torch.equal(drawn.codes, pair.codes):
        # the second stack has read the codes that were drawn: now it reads those that stand there instead
        cache.rewind(n_read)
        model.next_pair(cache, previous, lambda part, logits: pair.of(part)[:, 0])
    rules.note(pair)
    return pair


def places_for_next(
    region: Bool[Tensor, " L"],
    last: Int[Tensor, " B"],
    next_kept: Int[Tensor, " B"],
    n_new_left: Int[Tensor, " B"] | None,
) -> tuple[Bool[Tensor, "B L"], Bool[Tensor, " B"]]:
    """Where the next pair may go if positions rise: new ones (B, L) bool, and whether the kept one may (B,).

    region (L,): where nothing is drawn. last (B,): the last pair's place. next_kept (B,): the next kept
    pair's place, L where there is none. n_new_left (B,): how many new pairs are still to come. Places are
    left for all of them. None: as many or as few as there may be.
    """
    n_places = len(region)
    places = torch.arange(n_places, device=region.device)
    free = ~region
    if n_new_left is None:
        new = free & (places > last.unsqueeze(1)) & (places < next_kept.unsqueeze(1))  # (L,), (B, 1): (B, L)
        return new, next_kept < n_places
    free_after = free.flip(0).cumsum(0).flip(0) - free.long()  # (L,) free places beyond each
    room = free_after.unsqueeze(0) >= (n_new_left - 1).unsqueeze(1)  # (1, L) against (B, 1): (B, L)
    new = free & (places > last.unsqueeze(1)) & (places < next_kept.unsqueeze(1)) & room
    new &= (n_new_left > 0).unsqueeze(1)  # (B, L) and (B, 1)
    after_kept = torch.cat([free_after, free_after.new_tensor([-1])])[next_kept]  # (L + 1,) at (B,): (B,)
    return new, (next_kept < n_places) & (after_kept >= n_new_left)


class ChooserAroundKept(Chooser):
    """The chooser's rules, and that the pairs of a `KeptPart` come in their turn, with their codes."""

    def __init__(
        self,
        model: PairModel,
        kept: KeptPart,
        n_images: int,
        settings: SamplingConfig,
        generator: torch.Generator,
    ) -> None:
        super().__init__(model, n_images, settings, generator)
        device = generator.device
        self.region = kept.region.to(device)
        self.is_free, self.n_free = ~self.region, int((~kept.region).sum())
        # (m + 1,) each: with an entry that stands after all kept pairs, at place L
        self.kept_codes = F.pad(kept.codes.to(device), (0, 1))
        self.kept_positions = F.pad(kept.positions.to(device), (0, 1), value=self.n_places)
        self.n_kept_done = torch.zeros(n_images, dtype=torch.long, device=device)
        self.n_new = min(model.n_pairs - kept.n_pairs, int((~self.region).sum()))
        self.n_pairs = kept.n_pairs + self.n_new

    @property
    def next_kept(self) -> Int[Tensor, " B"]:
        """Every image's next kept place (B,), L where all are done."""
        return self.kept_positions[self.n_kept_done]

    def places(self) -> Bool[Tensor, "B L"]:
        """Where the next pair may go (B, L): to a new place, or to the next kept one."""
        new, may_keep = self._new_places()
        kept_place = F.one_hot(self.next_kept, self.n_places + 1)[:, :-1].bool()  # (B, L)
        return new | (kept_place & may_keep.unsqueeze(1))  # (B, L) and (B, 1): (B, L)

    def may_end(self) -> Bool[Tensor, " B"]:
        """Which images (B,) may end here: none before its first pair, nor before its last kept one."""
        return super().may_end() & (self.next_kept == self.n_places)

    def settled(self, pair: Pairs) -> Pairs:
        """The drawn `pair` (rows, 1), or where it lies at the next kept place the kept one."""
        next_kept, kept_codes = self.next_kept, self.kept_codes[self.n_kept_done]
        n_copies = len(pair) // len(next_kept)  # 2 with guidance
        positions = pair.positions[: len(next_kept), 0]
        is_kept = (positions == next_kept) & (next_kept < self.n_places)  # (B,)
        self.n_kept_done += is_kept
        is_kept, kept_codes = is_kept.repeat(n_copies), kept_codes.repeat(n_copies)  # (rows,)
        codes = torch.where(is_kept, kept_codes, pair.codes[:, 0]).unsqueeze(1)  # (rows, 1)
        return Pairs(codes, pair.positions, pair.side)

    def _new_places(self) -> tuple[Bool[Tensor, "B L"], Bool[Tensor, " B"]]:
        """Where a new pair may go (B, L), and whether the next kept one may come (B,)."""
        if self.model.in_blocks:
            return self._new_places_in_blocks()
        if self.model.order != "raster":  # kept pairs stand first
            is_kept_left = self.next_kept < self.n_places
            free = ~self.region & ~self.is_taken[:, :-1]
            return free & ~is_kept_left.unsqueeze(1), is_kept_left  # (B, L) and (B,)
        n_new_left = None if self.model.has_end else self.n_new - (self.n_drawn - self.n_kept_done)
        return places_for_next(self.region, self.last, self.next_kept, n_new_left)

    def _new_places_in_blocks(self) -> tuple[Bool[Tensor, "B L"], Bool[Tensor, " B"]]:
        """The same, where pairs stand for blocks: what is due before the next kept pair comes before it."""
        places, first_due = self.open_in_blocks(self.n_new)
        next_kept = self.next_kept
        is_kept_left = next_kept < self.n_places  # (B,)
        if not self.is_rising:  # kept pairs stand first
            return places & ~is_kept_left.unsqueeze(1), is_kept_left
        ahead = torch.arange(self.n_places, device=places.device) < next_kept.unsqueeze(1)  # (B, L)
        return places & ahead, is_kept_left & (next_kept < first_due)
