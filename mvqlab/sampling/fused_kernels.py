"""Triton kernels for a sampling step of few rows: what a block does, in five passes over its weights.

For one row a step does little but read weights, and a dozen small kernels a block leave the memory idle
between them. Here normalisation, bias, GELU and residual happen where a matrix is read, and attention of one
query is one kernel. A matrix is read before the kernel waits for its input, so that with `early`
(programmatic dependent launch, from H100 on) the next kernel's weights are on their way while the last one
still works.
"""

from __future__ import annotations

import os

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from mvqlab.sampling.filters import at_least_single, choose

IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if not IS_INTERPRETED:
    from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait
TILE = 4096  # numbers of a matrix that a program reads
FEWEST_PROGRAMS = 512  # of a matrix, so that every multiprocessor has some
BLOCK_PLACES = 128  # keys that are read at once
MOST_CHOICES = 2048  # that one program sorts
TINY = tl.constexpr(1.1754943508222875e-38)  # the least that noise counts as


@triton.jit
def _linear_kernel(
    x, weight, bias, gain, shift, residual, out, n_in, n_out, eps,
    ROWS: tl.constexpr, BLOCK_OUT: tl.constexpr, BLOCK_IN: tl.constexpr,
    HAS_NORM: tl.constexpr, HAS_BIAS: tl.constexpr, HAS_GELU: tl.constexpr, HAS_RESIDUAL: tl.constexpr,
    EARLY: tl.constexpr,
):  # fmt: skip
    """out (ROWS, n_out) = residual + gelu(norm(x) @ weight.T + bias), each where asked for."""
    j = tl.program_id(0) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    i = tl.arange(0, BLOCK_IN)
    is_out, is_in = j < n_out, i < n_in
    w = tl.load(weight + j[:, None] * n_in + i[None, :], mask=is_out[:, None] & is_in[None, :], other=0.0)
    if HAS_NORM:
        g = tl.load(gain + i, mask=is_in, other=0.0).to(tl.float32)
        s = tl.load(shift + i, mask=is_in, other=0.0).to(tl.float32)
    if HAS_BIAS:
        b = tl.load(bias + j, mask=is_out, other=0.0).to(tl.float32)
    if EARLY:
        gdc_launch_dependents()
        gdc_wait()
    for row in tl.static_range(ROWS):
        v = tl.load(x + row * n_in + i, mask=is_in, other=0.0).to(tl.float32)
        if HAS_NORM:
            mean = tl.sum(v, axis=0) / n_in
            centred = tl.where(is_in, v - mean, 0.0)
            variance = tl.sum(centred * centred, axis=0) / n_in
            v = centred * tl.rsqrt(variance + eps) * g + s
        y = tl.sum(w.to(tl.float32) * v[None, :], axis=1)
        if HAS_BIAS:
            y += b
        if HAS_GELU:
            y = 0.5 * y * (1.0 + tl.erf(y * 0.7071067811865476))
        if HAS_RESIDUAL:
            y += tl.load(residual + row * n_out + j, mask=is_out, other=0.0).to(tl.float32)
        tl.store(out + row * n_out + j, y.to(out.dtype.element_ty), mask=is_out)


@triton.jit
def _attend_kernel(
    query_key_value, keys, values, n_read, out, length, scale,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr, EARLY: tl.constexpr,
):  # fmt: skip
    """Write the newest key and value to their cache, and let the newest query attend to all of them."""
    image, head = tl.program_id(0), tl.program_id(1)
    c = tl.arange(0, WIDTH)
    if EARLY:
        gdc_launch_dependents()
        gdc_wait()
    newest = query_key_value + image * 3 * HEADS * WIDTH + head * WIDTH + c
    cached = (image * HEADS + head) * length * WIDTH
    n = tl.load(n_read).to(tl.int32)
    raw_key, raw_value = tl.load(newest + HEADS * WIDTH), tl.load(newest + 2 * HEADS * WIDTH)
    tl.store(keys + cached + n * WIDTH + c, raw_key)
    tl.store(values + cached + n * WIDTH + c, raw_value)
    query = tl.load(newest).to(tl.float32) * scale
    highest = tl.sum(query * raw_key.to(tl.float32), axis=0)
    total = highest * 0.0 + 1.0
    attended = raw_value.to(tl.float32)
    first = 0
    while first < n:
        place = first + tl.arange(0, BLOCK)
        where = cached + place[:, None] * WIDTH + c[None, :]
        is_past = place < n
        key = tl.load(keys + where, mask=is_past[:, None], other=0.0).to(tl.float32)
        value = tl.load(values + where, mask=is_past[:, None], other=0.0).to(tl.float32)
        score = tl.where(is_past, tl.sum(query[None, :] * key, axis=1), float("-inf"))
        higher = tl.maximum(highest, tl.max(score, axis=0))
        fade, share = tl.exp(highest - higher), tl.exp(score - higher)
        total = total * fade + tl.sum(share, axis=0)
        attended = attended * fade + tl.sum(share[:, None] * value, axis=0)
        highest = higher
        first += BLOCK
    tl.store(out + (image * HEADS + head) * WIDTH + c, (attended / total).to(out.dtype.element_ty))


@triton.jit
def _choose_kernel(
    logits, noise, chosen, stride, n, k, p, temperature, BLOCK: tl.constexpr
):  # fmt: skip
    """chosen (B,): the index with the largest ratio of probability to noise (B, k) among the likeliest."""
    row = tl.program_id(0)
    i = tl.arange(0, BLOCK)
    logit = tl.load(logits + row * stride + i, mask=i < n, other=float("-inf")).to(tl.float32)
    is_forbidden = logit == float("-inf")
    logit = tl.where(is_forbidden, logit, (logit - tl.max(logit, axis=0)) / temperature)
    # bits that sort as the numbers do, and below them the index: the likeliest first, of equals the lowest
    bits = logit.to(tl.int32, bitcast=True)
    bits = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    packed = (bits.to(tl.int64) << 32) | (BLOCK - 1 - i).to(tl.int64)
    packed = tl.sort(packed, descending=True)
    index = BLOCK - 1 - (packed & 0xFFFFFFFF)
    bits = (packed >> 32).to(tl.int32)
    bits = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    logit = bits.to(tl.float32, bitcast=True)
    likelihood = tl.where(i < k, tl.exp(logit - tl.max(logit, axis=0)), 0.0)
    probability = likelihood / tl.sum(likelihood, axis=0)
    before = tl.cumsum(probability, axis=0) - probability
    drawn = tl.maximum(tl.load(noise + row * k + i, mask=i < k, other=1.0).to(tl.float32), TINY)
    is_left = (i < k) & ((before < p) | (i == 0)) & (logit > float("-inf"))
    ratio = tl.where(is_left, probability / drawn, -1.0)
    best = tl.argmax(ratio, axis=0)
    tl.store(chosen + row, tl.sum(tl.where(i == best, index, 0), axis=0))


def fused_choose(
    logits: Tensor, temperature: float, k: int, p: float, generator: torch.Generator | None = None
) -> Tensor:
    """`filters.choose` in one kernel after the noise, which is drawn as there: the same choices."""
    n = logits.shape[1]
    if temperature == 0.0 or n > MOST_CHOICES:
        return choose(logits, temperature, k, p, generator)
    k = n if k == 0 else min(k, n)
    noise = logits.new_empty(len(logits), k, dtype=at_least_single(logits))
    noise = noise.exponential_(generator=generator)
    chosen = torch.empty(len(logits), dtype=torch.long, device=logits.device)
    if logits.stride(1) != 1:
        logits = logits.contiguous()
    _choose_kernel[(len(logits),)](
        logits,
        noise,
        chosen,
        logits.stride(0),
        n,
        k,
        p if p < 1.0 else 2.0,
        temperature,
        BLOCK=triton.next_power_of_2(n),
        num_warps=4,
    )
    return chosen


def fused_linear(
    x: Tensor,
    linear: nn.Linear,
    *,
    norm: nn.LayerNorm | None = None,
    gelu: bool = False,
    residual: Tensor | None = None,
    early: bool = False,
) -> Tensor:
    """`linear` on x (R, n_in), normalised by `norm` before, through GELU and onto `residual` after.

    Returns (R, n_out).
    """
    n_out, n_in = linear.weight.shape
    out = x.new_empty(len(x), n_out)
    block_in = triton.next_power_of_2(n_in)
    block_out = max(1, min(TILE // block_in, triton.next_power_of_2(n_out // FEWEST_PROGRAMS)))
    unread = linear.weight  # a pointer must be given for what a kernel leaves alone
    _linear_kernel[(triton.cdiv(n_out, block_out),)](
        x.contiguous(),
        linear.weight,
        unread if linear.bias is None else linear.bias,
        unread if norm is None else norm.weight,
        unread if norm is None else norm.bias,
        unread if residual is None else residual,
        out,
        n_in,
        n_out,
        1e-5 if norm is None else norm.eps,
        ROWS=len(x),
        BLOCK_OUT=block_out,
        BLOCK_IN=block_in,
        HAS_NORM=norm is not None,
        HAS_BIAS=linear.bias is not None,
        HAS_GELU=gelu,
        HAS_RESIDUAL=residual is not None,
        EARLY=early,
        num_warps=4,
        **_launch(early),
    )
    return out


def fused_attention(
    query_key_value: Tensor, keys: Tensor, values: Tensor, n_read: Tensor, early: bool = False
) -> Tensor:
    """What the newest places attend to (R, width): queries, keys and values (R, 3 * width) and their caches.

    keys, values (R, heads, length, head_width): of the `n_read` (1,) places before, and then of these.
    """
    n_rows, heads, length, width = keys.shape
    out = query_key_value.new_empty(n_rows, heads * width)
    _attend_kernel[(n_rows, heads)](
        query_key_value,
        keys,
        values,
        n_read,
        out,
        length,
        width**-0.5,
        HEADS=heads,
        WIDTH=width,
        BLOCK=BLOCK_PLACES,
        EARLY=early,
        num_warps=8,
        **_launch(early),
    )
    return out


def _launch(early: bool) -> dict[str, bool]:
    return {"launch_pdl": True} if early else {}


def can_launch_early(device: torch.device) -> bool:
    """Whether kernels on `device` may begin before the last one has ended."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)
