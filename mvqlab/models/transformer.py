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
    `n_read` counts the places that are filled.
    """

    def __init__(self, stack: CausalTransformer, n_images: int, length: int) -> None:
        block = stack.blocks[0]
        weight = block.attention.query_key_value.weight
        heads = block.attention.heads
        shape = (n_images, heads, length, weight.shape[1] // heads)
        self.keys = [weight.new_zeros(shape) for _ in stack.blocks]
        self.values = [weight.new_zeros(shape) for _ in stack.blocks]
        self.n_read: int | Tensor = 0

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Write the newest place's key and value (B, heads, 1, head_width).

        Returns keys and values, and which of their places may be heard (None: all).
        """
        end = self.n_read + 1
        self.keys[layer][:, :, self.n_read : end] = key
        self.values[layer][:, :, self.n_read : end] = value
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end], None


class StaticKeyValueCache(KeyValueCache):
    """The same in shapes that never change, so that a GPU can replay a step; places to come are masked."""

    def __init__(self, stack: CausalTransformer, n_images: int, length: int) -> None:
        super().__init__(stack, n_images, length)
        self.n_read = torch.zeros(1, dtype=torch.long, device=self.keys[0].device)
        self.places = torch.arange(length, device=self.keys[0].device)

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        self.keys[layer].index_copy_(2, self.n_read, key)
        self.values[layer].index_copy_(2, self.n_read, value)
        heard = (self.places <= self.n_read).view(1, 1, 1, -1)
        return self.keys[layer], self.values[layer], heard


class CausalSelfAttention(nn.Module):
    """Multi-head attention in which a place hears itself and the places before it."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query_key_value = Linear(width, 3 * width)
        self.out = Linear(width, width)

    def forward(self, x: Tensor, layer: int = 0, cache: KeyValueCache | None = None) -> Tensor:
        """(B, T, width) to the same. With a cache, T is 1 and x is the newest place."""
        B, T, C = x.shape
        heads = self.query_key_value(x).view(B, T, 3, self.heads, C // self.heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (B, heads, T, head_width)
        heard = None
        if cache is not None:
            key, value, heard = cache.extend(layer, key, value)
        attended = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=heard,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=cache is None,
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

    def forward(self, x: Tensor, layer: int = 0, cache: KeyValueCache | None = None) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x), layer, cache))
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

    def forward(self, x: Tensor, cache: KeyValueCache | None = None) -> Tensor:
        """Read a whole sequence or, with a cache, its newest place (B, 1, width)."""
        for layer, block in enumerate(self.blocks):
            if self.activation_checkpointing and self.training:
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x, layer, cache)
        if cache is not None:
            cache.n_read += 1
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
