"""The pairs of code and position that stand for an image between the two stages (section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(eq=False)  # not frozen: Fabric's mixed precision rebuilds the dataclasses that it is handed
class Pairs:
    """What an image is to stage 2: N codes, and where each belongs.

    codes (B, N): indices into the codebook, 0 .. K-1.
    positions (B, N): places in the grid, 0 .. L-1, numbered row by row; none twice in a row.
    side: h = w of the grid, so L = side * side.
    """

    codes: Tensor
    positions: Tensor
    side: int

    def __post_init__(self) -> None:
        if self.codes.shape != self.positions.shape or self.codes.ndim != 2:
            raise ValueError(
                f"codes and positions must both be (B, N), got {tuple(self.codes.shape)} and "
                f"{tuple(self.positions.shape)}"
            )

    def __len__(self) -> int:
        return self.codes.shape[0]

    def __getitem__(self, rows: slice | Tensor | tuple[slice, slice]) -> Pairs:
        """Some images, or with two slices some pairs of some images."""
        return Pairs(self.codes[rows], self.positions[rows], self.side)

    @property
    def n_pairs(self) -> int:
        """N, the pairs of one image."""
        return self.codes.shape[1]

    @property
    def is_kept(self) -> Tensor:
        """(B, L), True where a region has a code."""
        kept = torch.zeros(len(self), self.side**2, dtype=torch.bool, device=self.codes.device)
        return kept.scatter(1, self.positions, True)

    def to(self, device: torch.device | str) -> Pairs:
        """The same pairs on another device."""
        return Pairs(self.codes.to(device), self.positions.to(device), self.side)

    def in_order(self, ranks: Tensor) -> Pairs:
        """The pairs sorted by rising `ranks` (B, N)."""
        order = ranks.argsort(dim=1, stable=True)
        return Pairs(self.codes.gather(1, order), self.positions.gather(1, order), self.side)

    def in_raster_order(self) -> Pairs:
        """The pairs sorted by position, as in the paper."""
        return self.in_order(self.positions)


def concatenate(batches: list[Pairs]) -> Pairs:
    """One `Pairs` from several of the same side and length, batch after batch."""
    if not batches:
        raise ValueError("there are no pairs to concatenate")
    codes = torch.cat([pairs.codes for pairs in batches])
    positions = torch.cat([pairs.positions for pairs in batches])
    return Pairs(codes, positions, batches[0].side)
