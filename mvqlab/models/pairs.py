"""The pairs of code and position that stand for an image between the two stages (section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

NO_CODE = -1  # of padding
Part = Literal["code", "position"]  # of a pair
Either = TypeVar("Either")


def by_part(part: Part, *, code: Either, position: Either) -> Either:
    """`code` if the part is "code", else `position`: here alone the two are told apart by name."""
    return code if part == "code" else position


@dataclass(eq=False)  # not frozen: Fabric's mixed precision rebuilds the dataclasses that it is handed
class Pairs:
    """What an image is to stage 2: N codes, and where each belongs.

    codes (B, N): indices into the codebook, 0 .. K-1.
    positions (B, N): places in the grid, 0 .. L-1, numbered row by row; none twice in a row.
    side: h = w of the grid, so L = side * side.

    Images with fewer than N pairs are padded on the right: at place L, which no grid has, with code -1.
    """

    codes: Int[Tensor, "B N"]
    positions: Int[Tensor, "B N"]
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

    def of(self, part: Part) -> Int[Tensor, "B N"]:
        """The codes or the positions (B, N)."""
        return by_part(part, code=self.codes, position=self.positions)

    @property
    def n_pairs(self) -> int:
        """N, the pairs of one image; the most where images have more and fewer."""
        return self.codes.shape[1]

    @property
    def is_padding(self) -> Bool[Tensor, "B N"]:
        """(B, N), True after an image's last pair."""
        return self.positions == self.side**2

    @property
    def lengths(self) -> Int[Tensor, " B"]:
        """(B,) pairs of each image."""
        return (~self.is_padding).sum(dim=1)

    @property
    def mean_length(self) -> float:
        """Pairs of an image, on average; N, a whole number, where all have as many."""
        return float(self.lengths.double().mean()) if self.is_padding.any() else self.n_pairs

    @property
    def all_codes(self) -> Int[Tensor, " M"]:
        """(M,) codes of all images, without padding."""
        return self.codes[~self.is_padding]

    @property
    def is_kept(self) -> Bool[Tensor, "B L"]:
        """(B, L), True where a region has a code."""
        return is_among(self.positions, self.side**2)

    def to(self, device: torch.device | str) -> Pairs:
        """The same pairs on another device."""
        return Pairs(self.codes.to(device), self.positions.to(device), self.side)

    def copied(self) -> Pairs:
        """The same pairs in memory of their own."""
        return Pairs(self.codes.clone(), self.positions.clone(), self.side)

    def widened(self, n: int) -> Pairs:
        """The same pairs, padded to `n` columns."""
        more = (0, n - self.n_pairs)
        codes = F.pad(self.codes, more, value=NO_CODE)  # (B, n)
        return Pairs(codes, F.pad(self.positions, more, value=self.side**2), self.side)

    def trimmed(self) -> Pairs:
        """The same pairs without columns that are padding in every row."""
        return self[:, : max(1, int(self.lengths.max()))] if len(self) else self

    def in_order(self, ranks: Shaped[Tensor, "B N"]) -> Pairs:
        """The pairs sorted by rising `ranks` (B, N), of which those of padding must be highest."""
        order = ranks.argsort(dim=1, stable=True)  # (B, N): which pair comes n-th
        return Pairs(self.codes.gather(1, order), self.positions.gather(1, order), self.side)  # (B, N)

    def shuffled(self, generator: torch.Generator | None = None) -> Pairs:
        """The pairs of each image in an order of its own, all orders alike; padding stays behind them."""
        device = self.positions.device if generator is None else generator.device
        ranks = torch.rand(self.positions.shape, device=device, generator=generator)  # (B, N), under 1
        return self.in_order(ranks.to(self.positions.device) + self.is_padding)


def no_pairs(n_images: int, side: int, device: torch.device | str = "cpu") -> Pairs:
    """`n_images` images without a pair, (B, 0)."""
    none = torch.zeros(n_images, 0, dtype=torch.long, device=device)
    return Pairs(none, none, side)


def concatenate(batches: list[Pairs]) -> Pairs:
    """One `Pairs` from several of the same side, batch after batch; shorter ones are padded."""
    if not batches:
        raise ValueError("there are no pairs to concatenate")
    longest = max(pairs.n_pairs for pairs in batches)
    batches = [pairs.widened(longest) for pairs in batches]
    codes = torch.cat([pairs.codes for pairs in batches])  # (all B together, N)
    positions = torch.cat([pairs.positions for pairs in batches])
    return Pairs(codes, positions, batches[0].side)


def is_among(positions: Int[Tensor, "B N"], n_positions: int) -> Bool[Tensor, "B L"]:
    """(B, L) bool: which of L = `n_positions` places are among `positions` (B, N), L itself being padding."""
    places = torch.zeros(len(positions), n_positions + 1, dtype=torch.bool, device=positions.device)
    return places.scatter(1, positions, True)[:, :-1].contiguous()  # (B, L + 1) to (B, L)


def positions_where(is_kept: Bool[Tensor, "B L"]) -> Int[Tensor, "B N"]:
    """Positions, rising, where `is_kept`; N is the most that an image has, others are padded with L."""
    n_positions = is_kept.shape[1]
    places = torch.arange(n_positions, device=is_kept.device)  # (L,)
    rising = places.where(is_kept, n_positions).sort(dim=1).values  # (B, L), the L that stand for none last
    n = int(is_kept.sum(dim=1).max()) if len(is_kept) else 0  # of no images there is no most
    return rising[:, :n]  # (B, L) -> (B, N)
