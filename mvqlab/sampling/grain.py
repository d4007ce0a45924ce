"""Where pairs may go that stand for blocks of 2 x 2 regions (`models.dual_grain`): whole grains alone.

    # .   a coarse block: its upper left region alone     # #   a fine one: all four
    . .                                                   # #

So F blocks of a drawn image are fine, as of any encoded one. Where positions rise, a block becomes fine at
its upper right region, right after the corner; what is due there or below it may not be passed over.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mvqlab.models.dual_grain import repeated, upper_left


class OpenPlaces(NamedTuple):
    """places (B, L): where the next pair may go. first_due (B,): the place that may not be passed over."""

    places: Bool[Tensor, "B L"]
    first_due: Int[Tensor, " B"]


def open_in_blocks(
    is_taken: Bool[Tensor, "B L"],
    last: Int[Tensor, " B"] | None,
    n_fine: int,
    is_free: Bool[Tensor, " L"],
) -> OpenPlaces:
    """Where the pair after those at `is_taken` (B, L) may go, so that `n_fine` free blocks become fine.

    last (B,): where the last pair went, if positions must rise. is_free (L,): the blocks that are drawn,
    whole ones. first_due is L where nothing is due, or where positions come in any order.
    """
    n_places = is_taken.shape[1]
    side = math.isqrt(n_places)
    places = torch.arange(n_places, device=is_taken.device)
    corner = upper_left(side, is_taken.device)  # (L,), of each place's block
    is_corner, is_beside_it = places == corner, places == corner + 1  # (L,)
    is_fine = _of_its_block(is_taken & is_free & ~is_corner, side)  # (B, L)
    n_to_come = n_fine - (is_fine & is_free & is_corner).sum(dim=1, keepdim=True)  # (B, 1), fine blocks
    is_open = is_free & ~is_taken  # (L,) and (B, L): (B, L)
    if last is None:
        nothing_due = torch.full((len(is_taken),), n_places, device=is_taken.device)
        return OpenPlaces(is_open & (is_corner | is_fine | (n_to_come > 0)), nothing_due)
    is_ahead = is_open & (places > last.unsqueeze(1))  # (B, L)
    may_become_fine = is_ahead & is_beside_it & ~is_fine  # (B, L)
    must = may_become_fine.sum(dim=1, keepdim=True) == n_to_come  # (B, 1): none of them may stay coarse
    is_due = is_ahead & (is_corner | is_fine | (may_become_fine & must))
    first_due = torch.where(is_due, places, n_places).amin(dim=1)  # (B,)
    is_possible = is_corner | is_fine | (may_become_fine & (n_to_come > 0))
    return OpenPlaces(is_ahead & is_possible & (places <= first_due.unsqueeze(1)), first_due)


def are_whole_blocks(region: Bool[Tensor, " L"]) -> bool:
    """Whether `region` cuts no block of 2 x 2 regions."""
    side = math.isqrt(len(region))
    return bool(torch.equal(_of_its_block(region.unsqueeze(0), side)[0], region))


def _of_its_block(is_there: Bool[Tensor, "B L"], side: int) -> Bool[Tensor, "B L"]:
    """At each region, whether `is_there` holds anywhere in its block."""
    blocks = is_there.unflatten(1, (side // 2, 2, side // 2, 2)).any(dim=4).any(dim=2)  # (B, h/2, w/2)
    return repeated(blocks.unsqueeze(1)).flatten(1)  # (B, 1, h/2, w/2) -> (B, 1, h, w) -> (B, L)
