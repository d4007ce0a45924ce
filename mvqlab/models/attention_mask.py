"""Which places of a sequence attend to which. In every mask of stage 2, True means: may be attended to.

    padding_mask (B, T)             True: the place is real; False: it is padding, which nobody attends to
    attention_mask (B or 1, 1, T, S)   row t, column s: True where the t-th of the T newest places, the oldest
                                       of them first, may attend to place s

torch's `scaled_dot_product_attention` reads its `attn_mask` in the same way (its `key_padding_mask`, and that
of `nn.MultiheadAttention`, are the other way round).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool
from torch import Tensor


def causal_mask(
    n_new: int, n_places: int, padding_mask: Bool[Tensor, "#B places"] | None, device: torch.device
) -> Bool[Tensor, "#B 1 T S"]:
    """Attention mask (B or 1, 1, n_new, n_places) of the `n_new` newest of `n_places` places.

    Each attends to itself and to those before it, as far as `padding_mask` (B, n_places or more) lets it.
    """
    is_past = torch.ones(n_new, n_places, dtype=torch.bool, device=device).tril(n_places - n_new)
    return without_padding(is_past, padding_mask)


def without_padding(
    is_past: Bool[Tensor, "T S"], padding_mask: Bool[Tensor, "#B places"] | None
) -> Bool[Tensor, "#B 1 T S"]:
    """Attention mask (B or 1, 1, T, S): what is past (T, S) and, by `padding_mask` (B, S or more), real."""
    if padding_mask is None:
        return is_past[None, None]  # (1, 1, T, S)
    return is_past & padding_mask[:, None, None, : is_past.shape[1]]  # (B, 1, T, S)
