"""GPT-2 of the package transformers, beside which ours is put: one of any size, and its own `generate`.

The package comes with the `bench` extra, and is imported where a model is built.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def build_gpt2(
    n_tokens: int,
    length: int,
    *,
    width: int,
    layers: int,
    heads: int,
    padding: int,
    dropout: float = 0.0,
) -> Any:
    """A fresh GPT-2 for sequences of up to `length` of `n_tokens` tokens, on the default device.

    padding: the token that stands for none; no token ends a sequence.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=n_tokens,
            n_positions=length,
            n_embd=width,
            n_layer=layers,
            n_head=heads,
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=padding,
        )
    )


@torch.no_grad()
def generate(
    gpt2: Any, start: Tensor, n: int, *, top_k: int = 100, top_p: float = 0.95, **options: Any
) -> Tensor:
    """`start` (B, 1) and exactly `n` tokens after it, (B, 1 + n), by transformers' own `generate`.

    top_k, top_p: by default the published filters of codes; 0 and 1.0 leave all. options: as `generate` takes
    them.
    """
    return gpt2.generate(
        start,
        attention_mask=torch.ones_like(start),
        min_new_tokens=n,
        max_new_tokens=n,
        do_sample=True,
        top_k=top_k,
        top_p=top_p,
        **options,
    )
