"""The plain way that training steps are compared with: the method written down as the released code does it.

Stage 1: the de-mask module fills a grid image by image and place by place and keeps L x L attention matrices
(`bench.demask.TranscribedDemaskModule`); the whole model runs forward twice a step, once for each optimiser;
tensors lie channels first. Stage 2: attention matrices are stored, and masked by a triangle. Encoder, mask,
quantiser, decoder, discriminator, losses, optimisers and precision are ours. Both leave out LPIPS, whose
trained network is not on every machine.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from mvqlab.bench.demask import NaiveDirectionConstrainedAttention, TranscribedDemaskModule
from mvqlab.models.backbone import SelfAttention
from mvqlab.models.demasking import DirectionConstrainedAttention
from mvqlab.models.key_value_cache import KeyValueCache
from mvqlab.models.mqvae import MQVAE
from mvqlab.models.transformer import MultiHeadSelfAttention


class NaiveCausalSelfAttention(MultiHeadSelfAttention):
    """Attention with its T x T matrix in memory and a triangle filled with -inf."""

    def forward(
        self,
        x: Tensor,
        layer: int = 0,
        cache: KeyValueCache | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        B, T, C = x.shape
        heads = self.query_key_value(x).view(B, T, 3, self.heads, C // self.heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (B, heads, T, head_width)
        scores = query @ key.transpose(-2, -1) * key.shape[-1] ** -0.5
        is_past = torch.ones(T, T, dtype=torch.bool, device=x.device).tril()
        shares = scores.masked_fill(~is_past, float("-inf")).softmax(-1)
        shares = nn.functional.dropout(shares, self.dropout, self.training)
        return self.out((shares @ value).transpose(1, 2).reshape(B, T, C))


class NaiveSelfAttention(SelfAttention):
    """The backbone's attention with its L x L matrix in memory."""

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.project(x)
        shares = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)
        return self.add(x, shares @ value)


NAIVE = {
    MultiHeadSelfAttention: NaiveCausalSelfAttention,
    SelfAttention: NaiveSelfAttention,
    DirectionConstrainedAttention: NaiveDirectionConstrainedAttention,
}


Model = TypeVar("Model", bound=nn.Module)


def transcribe(model: Model) -> Model:
    """`model`, changed in place into its transcription: the same weights, the same numbers, the plain way."""
    for module in model.modules():
        module.__class__ = NAIVE.get(type(module), type(module))
    if isinstance(model, MQVAE):
        model.demask.__class__ = TranscribedDemaskModule
    return model
