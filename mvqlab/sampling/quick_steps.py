"""Quicker ways for the step that sampling repeats, behind the transformer's own interface; GPUs only.

    compiled    torch.compile makes one function of a block's step, which all blocks share; any batch
    fused       hand-written kernels (see `fused_kernels`); for few rows, whose steps only read weights

What a student reads is `models.transformer`; inside `quick_steps` its stacks and heads are read another way
for as long as it lasts, and draw the same. On an H100, a pair of one image at the published size takes
2.27 ms with `cuda_graph` alone, 1.18 ms compiled and 0.80 ms fused (results/gpu). `fused_kernels` is imported
where it is used, since not every torch brings triton along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Literal, no_type_check

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvqlab.models.key_value_cache import KeyValueCache, StaticKeyValueCache
from mvqlab.models.pair_model import PairModel
from mvqlab.models.transformer import CausalTransformer, Head
from mvqlab.sampling.filters import choose

Kernels = Literal["plain", "compiled", "fused"]
MOST_FUSED_ROWS = 4  # beyond them, matrix products pay
BACKEND = "inductor"


@contextmanager
def quick_steps(model: PairModel, kernels: Kernels, n_rows: int) -> Iterator[None]:
    """Inside the `with`, steps of one place with a static cache go the way that `kernels` names.

    "fused" is "compiled" for more than MOST_FUSED_ROWS rows, and where widths are no powers of two.
    """
    if kernels == "plain":
        yield
        return
    is_fused = kernels == "fused" and n_rows <= MOST_FUSED_ROWS and _can_fuse(model)
    changed: list[nn.Module] = []
    try:
        for stack in model.stacks():
            quick = _FusedStack(stack) if is_fused else _CompiledStack(stack)
            stack.forward = quick  # type: ignore[method-assign]
            changed.append(stack)
        for head in (module for module in model.modules() if isinstance(module, Head) and is_fused):
            head.forward = _FusedHead(head)  # type: ignore[method-assign]
            changed.append(head)
        yield
    finally:
        for module in changed:
            del module.forward  # the class's own is there again


def quick_choice(kernels: Kernels) -> Callable[..., Tensor]:
    """`filters.choose`, or the same in one kernel."""
    if kernels == "plain" or find_spec("triton") is None:
        return choose
    from mvqlab.sampling.fused_kernels import fused_choose

    return fused_choose


def _can_fuse(model: PairModel) -> bool:
    first: Any = model.stacks()[0].blocks[0]
    attention = first.attention
    head_width = attention.out.in_features // attention.heads
    return find_spec("triton") is not None and head_width & (head_width - 1) == 0


class _QuickStack:
    """A stack's forward pass: `step` for one newest place, the stack's own for everything else."""

    def __init__(self, stack: CausalTransformer) -> None:
        self.stack, self.plain = stack, stack.forward

    def __call__(
        self, x: Tensor, cache: KeyValueCache | None = None, padding_mask: Tensor | None = None
    ) -> Tensor:
        if not isinstance(cache, StaticKeyValueCache) or x.shape[1] > 1 or not self.serves(cache):
            return self.plain(x, cache, padding_mask)
        x = x[:, 0]  # (B, 1, width) to (B, width)
        for layer, block in enumerate(self.stack.blocks):
            x = self.step(block, x, layer, cache)
        cache.n_read += 1
        return x.unsqueeze(1)  # (B, 1, width)

    def serves(self, cache: StaticKeyValueCache) -> bool:
        """Whether `step` can read this cache."""
        return True

    def step(self, block: Any, x: Tensor, layer: int, cache: StaticKeyValueCache) -> Tensor:
        """`block`, a `Block`, on the newest place's states x (B, width)."""
        raise NotImplementedError


class _FusedStack(_QuickStack):
    def __init__(self, stack: CausalTransformer) -> None:
        super().__init__(stack)
        from mvqlab.sampling.fused_kernels import can_launch_early, fused_attention, fused_linear

        self.linear, self.attention = fused_linear, fused_attention
        self.early = can_launch_early(next(stack.parameters()).device)

    def serves(self, cache: StaticKeyValueCache) -> bool:
        return cache.padding_mask is None

    def step(self, block: Any, x: Tensor, layer: int, cache: StaticKeyValueCache) -> Tensor:
        attention, (wide, _, narrow) = block.attention, block.mlp
        early, linear = self.early, self.linear
        read = linear(x, attention.query_key_value, norm=block.norm1, early=early)
        attended = self.attention(read, cache.keys[layer], cache.values[layer], cache.n_read, early)
        x = linear(attended, attention.out, residual=x, early=early)
        hidden = linear(x, wide, norm=block.norm2, gelu=True, early=early)
        return linear(hidden, narrow, residual=x, early=early)


class _FusedHead:
    def __init__(self, head: Head) -> None:
        from mvqlab.sampling.fused_kernels import can_launch_early, fused_linear

        self.head, self.linear = head, fused_linear
        self.early = can_launch_early(next(head.parameters()).device)

    def __call__(self, states: Tensor) -> Tensor:
        norm: Any = self.head[0]
        linear: Any = self.head[1]
        return self.linear(states, linear, norm=norm, early=self.early)


class _CompiledStack(_QuickStack):
    def step(self, block: Any, x: Tensor, layer: int, cache: StaticKeyValueCache) -> Tensor:
        attention, mlp = block.attention, block.mlp
        return compiled_step()(
            x,
            cache.keys[layer],
            cache.values[layer],
            cache.n_read,
            cache.places,
            cache.padding_mask,
            (block.norm1.weight, block.norm1.bias, block.norm2.weight, block.norm2.bias),
            (attention.query_key_value.weight, attention.query_key_value.bias),
            (attention.out.weight, attention.out.bias),
            (mlp[0].weight, mlp[0].bias),
            (mlp[2].weight, mlp[2].bias),
        )


@lru_cache
def compiled_step() -> Callable[..., Tensor]:
    """`block_step`, compiled once for all blocks of a shape."""
    return torch.compile(block_step, dynamic=False, fullgraph=True, backend=BACKEND)


@no_type_check  # torch.compile takes it whole, and cannot look into checks of shapes
def block_step(
    x: Tensor,
    keys: Tensor,
    values: Tensor,
    n_read: Tensor,
    places: Tensor,
    padding_mask: Tensor | None,
    norms: tuple[Tensor, Tensor, Tensor, Tensor],
    query_key_value: tuple[Tensor, Tensor],
    out: tuple[Tensor, Tensor],
    wide: tuple[Tensor, Tensor],
    narrow: tuple[Tensor, Tensor],
) -> Tensor:
    """What `transformer.Block` does to one newest place, x (B, width), as a function of tensors alone.

    keys, values (B, heads, length, head_width): written at place `n_read` (1,), and read up to it. Linear
    layers are given as weight and bias.
    """
    n_rows, width = x.shape
    heads, head_width = keys.shape[1], keys.shape[3]
    gain1, shift1, gain2, shift2 = norms
    read = _linear(F.layer_norm(x, (width,), gain1, shift1), *query_key_value)
    query, key, value = read.view(n_rows, 3, heads, head_width).unbind(1)  # each (B, heads, head_width)
    # (B, heads, 1, head_width) into (B, heads, length, head_width)
    keys.index_copy_(2, n_read, key.unsqueeze(2))
    values.index_copy_(2, n_read, value.unsqueeze(2))
    # one query: sums that fuse, where a matrix product would be a kernel of its own
    scores = (query.unsqueeze(2).float() * keys.float()).sum(-1) * head_width**-0.5  # (B, heads, length)
    attention_mask = places <= n_read  # (length,)
    if padding_mask is not None:
        attention_mask = attention_mask & padding_mask[:, None, :]  # (B, 1, length)
    shares = scores.masked_fill(~attention_mask, float("-inf")).softmax(-1)
    attended = (shares.unsqueeze(-1) * values.float()).sum(2)  # (B, heads, head_width)
    attended = attended.to(x.dtype).view(n_rows, width)  # heads side by side
    x = x + _linear(attended, *out)
    hidden = F.gelu(_linear(F.layer_norm(x, (width,), gain2, shift2), *wide))
    return x + _linear(hidden, *narrow)


@no_type_check  # part of `block_step`
def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if len(x) > 1:
        return F.linear(x, weight, bias)
    # a sum over the matrix, which fuses with what comes before and after it
    return ((weight.float() * x.float()).sum(-1) + bias.float()).to(x.dtype).unsqueeze(0)
