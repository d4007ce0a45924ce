"""The transformers that stage-2 models are built of: pre-norm blocks, GELU (Radford et al. 2019).

In every mask True means: may be attended to (see `models.attention_mask`). With a cache, only the newest
places are read; it keeps what was computed of those before them (see `models.key_value_cache`).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mvqlab.models.attention_mask import causal_mask
from mvqlab.models.key_value_cache import KeyValueCache
from mvqlab.models.linear import Linear


class MultiHeadSelfAttention(nn.Module):
    """Multi-head attention. Who attends to whom the mask says; without one it is causal."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query_key_value = Linear(width, 3 * width)
        self.out = Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "B T width"],
        layer: int = 0,
        cache: KeyValueCache | None = None,
        attention_mask: Bool[Tensor, "#B 1 T S"] | None = None,
    ) -> Float[Tensor, "B T width"]:
        """States (B, T, width) to states (B, T, width); with a cache those of the T newest places.

        layer: whose keys and values the cache is asked for. attention_mask (B or 1, 1, T, T): None is causal,
        a place attends to itself and those before it; with a cache it is the cache that says it.
        """
        B, T, C = x.shape
        heads = self.query_key_value(x).view(B, T, 3, self.heads, C // self.heads)  # from (B, T, 3 C)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (B, heads, T, head_width)
        if cache is not None:
            key, value, attention_mask = cache.extend(layer, key, value)  # (B, heads, S, head_width)
        attended = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=attention_mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=cache is None and attention_mask is None,
        )  # (B, heads, T, head_width)
        return self.out(attended.transpose(1, 2).reshape(B, T, C))  # (B, T, heads, head_width) to (B, T, C)


class Block(nn.Module):
    """Attention, then an MLP of four times the width, each normalised before and added to its input."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = MultiHeadSelfAttention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(Linear(width, 4 * width), nn.GELU(), Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "B T width"],
        layer: int = 0,
        cache: KeyValueCache | None = None,
        attention_mask: Bool[Tensor, "#B 1 T S"] | None = None,
    ) -> Float[Tensor, "B T width"]:
        """States (B, T, width) to states (B, T, width); arguments as of `MultiHeadSelfAttention`."""
        x = x + self.dropout(self.attention(self.norm1(x), layer, cache, attention_mask))
        return x + self.dropout(self.mlp(self.norm2(x)))


class Transformer(nn.Module):
    """A stack of blocks; subclasses say who may attend to whom."""

    def __init__(
        self, layers: int, width: int, heads: int, dropout: float, activation_checkpointing: bool = False
    ) -> None:
        """With `activation_checkpointing` a training step holds one block's activations at a time."""
        super().__init__()
        self.activation_checkpointing = activation_checkpointing
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))

    def through_blocks(
        self,
        x: Float[Tensor, "B T width"],
        cache: KeyValueCache | None,
        attention_mask: Bool[Tensor, "#B 1 T S"] | None,
    ) -> Float[Tensor, "B T width"]:
        """States (B, T, width) after block upon block; arguments as of `MultiHeadSelfAttention`."""
        for layer, block in enumerate(self.blocks):
            if self.activation_checkpointing and self.training:
                x = checkpoint(block, x, 0, None, attention_mask, use_reentrant=False)
            else:
                x = block(x, layer, cache, attention_mask)
        return x


class BidirectionalTransformer(Transformer):
    """Every place attends to every place: (B, T, width) to (B, T, width)."""

    def forward(
        self, x: Float[Tensor, "B T width"], padding_mask: Bool[Tensor, "#B T"] | None = None
    ) -> Float[Tensor, "B T width"]:
        """Read a whole sequence. padding_mask (B, T): True where a place is real; None: everywhere."""
        # written out, for without a mask attention is causal
        everyone = torch.ones(1, x.shape[1], dtype=torch.bool, device=x.device)
        columns = everyone if padding_mask is None else padding_mask  # (B or 1, T)
        return self.through_blocks(x, None, columns[:, None, None].expand(-1, -1, x.shape[1], -1))


class CausalTransformer(Transformer):
    """Every place attends to itself and those before it: (B, T, width) to (B, T, width)."""

    def forward(
        self,
        x: Float[Tensor, "B T width"],
        cache: KeyValueCache | None = None,
        padding_mask: Bool[Tensor, "#B T"] | None = None,
    ) -> Float[Tensor, "B T width"]:
        """Read a whole sequence or, with a cache, its T newest places: (B, T, width) to (B, T, width).

        padding_mask (B, T), of a whole sequence: True where a place is real, and later ones may attend to it;
        None: everywhere. With a cache it is the cache that says so.
        """
        attention_mask = None  # causal
        if padding_mask is not None:
            attention_mask = causal_mask(x.shape[1], x.shape[1], padding_mask, x.device)  # (B, 1, T, T)
        x = self.through_blocks(x, cache, attention_mask)
        if cache is not None:
            cache.n_read += x.shape[1]
        return x

    def empty_cache(
        self,
        n_images: int,
        length: int,
        padding_mask: Bool[Tensor, "#B length"] | None = None,
        kind: type[KeyValueCache] = KeyValueCache,
    ) -> KeyValueCache:
        """A cache for `n_images` sequences of up to `length` places, of which none is read yet."""
        first: Any = self.blocks[0]
        attention: MultiHeadSelfAttention = first.attention
        head_width = attention.out.in_features // attention.heads
        shape = (n_images, attention.heads, length, head_width)
        return kind(len(self.blocks), shape, attention.query_key_value.weight, padding_mask)


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
