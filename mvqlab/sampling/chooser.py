"""The rules by which codes and positions are chosen from logits, for a batch of sequences that grow together.

A code is any of K. A position is free, and where positions rise it comes after the last one and leaves room
for the pairs to come. Pairs that stand for blocks (dual grain) make whole ones. Where sequences have an end,
it is one choice more of the part that is predicted first: never before an image's first pair, always where
no place is left. How one is drawn: `sampling.filters`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mvqlab.config import SamplingConfig
from mvqlab.models.dual_grain import n_fine
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs, Part, by_part
from mvqlab.sampling.filters import FORBIDDEN, allowed_positions, choose, guided
from mvqlab.sampling.grain import OpenPlaces, open_in_blocks

# called with a part and the logits that it is drawn from
OnLogits = Callable[[Part, Float[Tensor, "B n"]], object]


def check_generator(model: PairModel, generator: torch.Generator) -> None:
    """Raise ValueError where the generator is on another device than the model."""
    device = next(model.parameters()).device
    if generator.device.type != device.type:
        raise ValueError(
            f"the generator is on {generator.device}, the model on {device}: use torch.Generator('{device}')"
        )


def rows_to_read(
    model: PairModel, n_images: int, settings: SamplingConfig, conditions: Int[Tensor, "B ..."] | None
) -> tuple[int, Int[Tensor, "rows ..."] | None]:
    """How many sequences are read for `n_images`, and their conditions.

    With guidance there are twice as many, the second half with the null condition. Raises as `Start.null`.
    """
    if not settings.is_guided:
        return n_images, conditions
    null = model.start.null(n_images)
    conditions = null if conditions is None else conditions
    return 2 * n_images, torch.cat([conditions, null.to(conditions.device)])  # (2 B,) or (2 B, T)


class Chooser:
    """Draws codes and positions, and keeps track of the places taken.

    It never waits for the device, and what it keeps is written in place: a GPU can replay its steps. With
    guidance the model reads 2 B sequences, the second half without their conditions; one choice is made of
    two rows, and both get it.
    """

    def __init__(
        self,
        model: PairModel,
        n_images: int,
        settings: SamplingConfig,
        generator: torch.Generator,
        on_logits: OnLogits | None = None,
    ) -> None:
        """For `n_images` sequences. Raises ValueError where the generator is on another device."""
        check_generator(model, generator)
        self.model, self.settings, self.generator, self.on_logits = model, settings, generator, on_logits
        self.choose = choose
        self.is_rising = settings.ordered_positions and model.order == "raster"
        self.is_free = torch.ones(model.side**2, dtype=torch.bool, device=generator.device)  # where one draws
        self.n_free = model.side**2  # places, as `is_free` has them
        self.n_places = model.side**2
        device = generator.device
        self.is_taken = torch.zeros(n_images, self.n_places + 1, dtype=torch.bool, device=device)
        self.has_ended = torch.zeros(n_images, dtype=torch.bool, device=device)
        self.last = torch.full((n_images,), -1, device=device)
        self.n_drawn = torch.zeros(1, dtype=torch.long, device=device)

    def __call__(self, part: Part, logits: Float[Tensor, "rows n"]) -> Int[Tensor, " rows"]:
        """Choose the next `part` of every image: logits (rows, n) to indices (rows,), of B or 2 B rows."""
        settings = self.settings
        if settings.is_guided:
            scale = by_part(part, code=settings.code_guidance, position=settings.position_guidance)
            logits = guided(logits, scale)  # (2 B, n) to (B, n)
        possible = self._possible(part, logits)
        if self.on_logits is not None:
            self.on_logits(part, possible)
        k = by_part(part, code=settings.code_top_k, position=settings.position_top_k)
        p = by_part(part, code=settings.code_top_p, position=settings.position_top_p)
        chosen = self.choose(possible, settings.temperature, k, p, self.generator)
        chosen = self._unless_ended(chosen, self.model.end_token(part))  # (B,)
        return chosen.repeat(2) if settings.is_guided else chosen  # (rows,)

    def note(self, pair: Pairs) -> None:
        """Take note of the pair (rows, 1) that the next one comes after."""
        positions = pair.positions[: len(self.last)]  # (B, 1); the others are the same again
        self.is_taken.scatter_(1, positions, True)  # (B, L + 1)
        self.last.copy_(positions[:, 0])
        self.n_drawn += 1

    def is_done(self) -> bool:
        """Whether every image has ended, so that nothing is left to draw."""
        return self.model.has_end and bool(self.has_ended.all())

    def places(self) -> Bool[Tensor, "B L"]:
        """Where the next pair may go (B, L)."""
        if self.model.in_blocks:
            return self.open_in_blocks(self.model.n_pairs).places
        n_to_come = 0 if self.model.has_end else self.model.n_pairs - 1 - self.n_drawn
        return allowed_positions(self.is_taken[:, :-1], self.last if self.is_rising else None, n_to_come)

    def open_in_blocks(self, n_pairs: int) -> OpenPlaces:
        """Where the next of `n_pairs` pairs may go that fill the free blocks."""
        last = self.last if self.is_rising else None
        return open_in_blocks(self.is_taken[:, :-1], last, n_fine(n_pairs, self.n_free), self.is_free)

    def may_end(self) -> Bool[Tensor, "#B"]:
        """Which images (B,) or (1,) may end here, if they have an end at all: none before its first pair."""
        return self.n_drawn > 0

    def _possible(self, part: Part, logits: Float[Tensor, "B n"]) -> Float[Tensor, "B possible"]:
        """The logits (B, K) or (B, L), and that of the end behind them, with what may not be at -inf."""
        end = self.model.end_token(part)
        possible = logits[:, :end]  # what lies beyond only starts a sequence, or ends it
        if part == "position":
            possible = possible.masked_fill(~self._open_places(), FORBIDDEN)
        elif self.model.says_end(part):
            has_room = self._open_places().any(dim=1, keepdim=True)  # (B, 1)
            possible = possible.masked_fill(~has_room, FORBIDDEN)
        if self.model.says_end(part):
            of_end = logits[:, end].masked_fill(~self.may_end(), FORBIDDEN)  # (B,)
            possible = torch.cat([possible, of_end.unsqueeze(1)], dim=1)  # (B, K + 1) or (B, L + 1)
        return possible

    def _open_places(self) -> Bool[Tensor, "B L"]:
        """`places`, and any in images that have ended: what is drawn for these is not taken."""
        return self.places() | self.has_ended.unsqueeze(1)  # (B, L)

    def _unless_ended(self, chosen: Int[Tensor, " B"], end: int) -> Int[Tensor, " B"]:
        """`chosen` (B,), or once more `end` in images that have ended; `end` itself ends them."""
        if self.model.has_end:
            chosen = chosen.masked_fill(self.has_ended, end)
            self.has_ended.copy_(chosen == end)
        return chosen
