"""The causal transformer that every stage-2 model is built of: pre-norm blocks, GELU, key/value cache."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mvqlab.models.linear import Linear


class KeyValueCache:
    """Keys and values of the places that a stack of blocks has read, kept for the places to come.

    keys, values: one tensor (B, heads, length, head_width) a layer, allocated once for `length` places.
    `n_read` counts the places that are filled. `heard` (B, length): which of them later ones may hear;
    None: all.
    """

    def __init__(
        self, stack: CausalTransformer, n_images: int, length: int, heard: Tensor | None = None
    ) -> None:
        block = stack.blocks[0]
        weight = block.attention.query_key_value.weight
        heads = block.attention.heads
        shape = (n_images, heads, length, weight.shape[1] // heads)
        self.keys = [weight.new_zeros(shape) for _ in stack.blocks]
        self.values = [weight.new_zeros(shape) for _ in stack.blocks]
        self.n_read: int | Tensor = 0
        self.heard = heard

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Write the keys and values (B, heads, T, head_width) of the T newest places.

        Returns keys and values of all, and which of them each new place may hear, (B, 1, T, places) or what
        broadcasts to it (None: all).
        """
        n_new = key.shape[2]
        end = self.n_read + n_new
        self.keys[layer][:, :, self.n_read : end] = key
        self.values[layer][:, :, self.n_read : end] = value
        heard = None
        if n_new > 1 or self.heard is not None:
            everyone = torch.ones(n_new, end, dtype=torch.bool, device=key.device)
            heard = with_padding(everyone.tril(end - n_new), self.heard)
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end], heard


class StaticKeyValueCache(KeyValueCache):
    """The same in shapes that never change, so that a GPU can replay a step; places to come are masked."""

    def __init__(
        self, stack: CausalTransformer, n_images: int, length: int, heard: Tensor | None = None
    ) -> None:
        super().__init__(stack, n_images, length, heard)
        self.n_read = torch.zeros(1, dtype=torch.long, device=self.keys[0].device)
        self.places = torch.arange(length, device=self.keys[0].device)

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        newest = self.n_read + self.places[: key.shape[2]]
        self.keys[layer].index_copy_(2, newest, key)
        self.values[layer].index_copy_(2, newest, value)
        heard = with_padding(self.places <= newest.unsqueeze(1), self.heard)
        return self.keys[layer], self.values[layer], heard


def with_padding(is_past: Tensor, heard: Tensor | None) -> Tensor:
    """Attention mask (B or 1, 1, T, places): what is past (T, places) and heard (B, places or more)."""
    if heard is None:
        return is_past[None, None]
    return is_past & heard[:, None, None, : is_past.shape[1]]


class CausalSelfAttention(nn.Module):
    """Multi-head attention in which a place hears itself and the places before it."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query_key_value = Linear(width, 3 * width)
        self.out = Linear(width, width)

    def forward(
        self,
        x: Tensor,
        layer: int = 0,
        cache: KeyValueCache | None = None,
        heard: Tensor | None = None,
    ) -> Tensor:
        """(B, T, width) to the same. With a cache, x are the newest places. heard: mask or None."""
        B, T, C = x.shape
        heads = self.query_key_value(x).view(B, T, 3, self.heads, C // self.heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (B, heads, T, head_width)
        if cache is not None:
            key, value, heard = cache.extend(layer, key, value)
        attended = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=heard,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=cache is None and heard is None,
        )
        return self.out(attended.transpose(1, 2).reshape(B, T, C))


class Block(nn.Module):
    """Attention, then an MLP of four times the width, each normalised before and added to its input."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = CausalSelfAttention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(Linear(width, 4 * width), nn.GELU(), Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        layer: int = 0,
        cache: KeyValueCache | None = None,
        heard: Tensor | None = None,
    ) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), layer, cache, heard))
        return x + self.dropout(self.mlp(self.norm2(x)))


class CausalTransformer(nn.Module):
    """A stack of blocks: (B, T, width) to (B, T, width)."""

    def __init__(
        self, layers: int, width: int, heads: int, dropout: float, activation_checkpointing: bool = False
    ) -> None:
        """With `activation_checkpointing` a training step holds one block's activations at a time."""
        super().__init__()
        self.activation_checkpointing = activation_checkpointing
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))

    def forward(self, x: Tensor, cache: KeyValueCache | None = None, heard: Tensor | None = None) -> Tensor:
        """Read a whole sequence or, with a cache, its newest places (B, T, width).

        heard (B, T): which places of a whole sequence may be heard by those after them; None: all. With a
        cache it is the cache that says so.
        """
        if heard is not None:
            n_places = x.shape[1]
            everyone = torch.ones(n_places, n_places, dtype=torch.bool, device=x.device)
            heard = with_padding(everyone.tril(), heard)
        for layer, block in enumerate(self.blocks):
            if self.activation_checkpointing and self.training:
                x = checkpoint(block, x, 0, None, heard, use_reentrant=False)
            else:
                x = block(x, layer, cache, heard)
        if cache is not None:
            cache.n_read += x.shape[1]
        return x


class Head(nn.Sequential):
    """LayerNorm, then a linear layer without bias: states (..., width) to logits (..., n)."""

    def __init__(self, width: int, n: int) -> None:
        super().__init__(nn.LayerNorm(width), Linear(width, n, bias=False))


def initialise(module: nn.Module) -> None:
    """GPT's start: weights from N(0, 0.02), biases zero. To be handed to `nn.Module.apply`."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, 0.0, 0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def weight_decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for AdamW: decay on the weights of linear layers only (METHOD: stage 2)."""
    decayed = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)}
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if id(p) in decayed], "weight_decay": weight_decay},
        {"params": [p for p in parameters if id(p) not in decayed], "weight_decay": 0.0},
    ]
