"""What a causal transformer has computed of the places that it has read, kept for the places to come.

No place attends to a later one, so keys and values of what was read never change: a new place needs its own
queries, keys and values, and those of the places before it from here.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mvqlab.models.attention_mask import causal_mask, without_padding

Newest = Float[Tensor, "B heads T head_width"]
# keys and values of all places, and the attention mask
Attended = tuple[
    Float[Tensor, "B heads S head_width"],
    Float[Tensor, "B heads S head_width"],
    Bool[Tensor, "#B 1 T S"] | None,
]


class KeyValueCache:
    """Keys and values of a stack of blocks: per layer one tensor of each, (B, heads, length, head_width).

    They are allocated once for `length` places. n_read: how many of them are filled. padding_mask
    (B, length): which of them are real and may be attended to; None: all.
    """

    def __init__(
        self,
        n_layers: int,
        shape: tuple[int, int, int, int],
        like: Float[Tensor, ...],
        padding_mask: Bool[Tensor, "#B length"] | None = None,
    ) -> None:
        """For `n_layers` layers. shape: (B, heads, length, head_width). like: of its type and device."""
        self.keys = [like.new_zeros(shape) for _ in range(n_layers)]
        self.values = [like.new_zeros(shape) for _ in range(n_layers)]
        self.n_read: int | Tensor = 0
        self.padding_mask = padding_mask

    def extend(self, layer: int, key: Newest, value: Newest) -> Attended:
        """Write the keys and values (B, heads, T, head_width) of the T newest places.

        Returns keys and values (B, heads, S, head_width) of all S places, and the attention mask
        (B or 1, 1, T, S); None: all.
        """
        n_new, first = key.shape[2], int(self.n_read)
        end = first + n_new
        self.keys[layer][:, :, first:end] = key
        self.values[layer][:, :, first:end] = value
        attention_mask = None
        if n_new > 1 or self.padding_mask is not None:
            attention_mask = causal_mask(n_new, end, self.padding_mask, key.device)
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end], attention_mask


class StaticKeyValueCache(KeyValueCache):
    """The same in shapes that never change, so that a GPU can replay a step; places to come are masked."""

    n_read: Tensor  # (1,)

    def __init__(
        self,
        n_layers: int,
        shape: tuple[int, int, int, int],
        like: Float[Tensor, ...],
        padding_mask: Bool[Tensor, "#B length"] | None = None,
    ) -> None:
        super().__init__(n_layers, shape, like, padding_mask)
        self.n_read = torch.zeros(1, dtype=torch.long, device=like.device)
        self.places = torch.arange(shape[2], device=like.device)

    def extend(self, layer: int, key: Newest, value: Newest) -> Attended:
        """As in `KeyValueCache`, with S = length."""
        newest = self.n_read + self.places[: key.shape[2]]  # (T,)
        # (B, heads, T, head_width) into the T newest of (B, heads, length, head_width)
        self.keys[layer].index_copy_(2, newest, key)
        self.values[layer].index_copy_(2, newest, value)
        is_past = self.places <= newest.unsqueeze(1)  # (T, length)
        return self.keys[layer], self.values[layer], without_padding(is_past, self.padding_mask)
