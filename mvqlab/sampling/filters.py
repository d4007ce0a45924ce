"""From logits to one choice: guidance, temperature, top-k, top-p, and what is allowed at all.

Pure functions; they see the logits after impossible choices were ruled out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

FORBIDDEN = float("-inf")


@dataclass(frozen=True)
class Likeliest:
    """The choices that a filter left, likeliest first: logits (B, k) and their indices (B, k)."""

    logits: Float[Tensor, "*B k"]
    indices: Int[Tensor, "*B k"]


def at_temperature(logits: Float[Tensor, "*B n"], temperature: float) -> Float[Tensor, "*B n"]:
    """`logits` (..., n), shifted so that the largest is 0, over `temperature` > 0; forbidden ones stay -inf.

    Shifted, and in single precision at least, or a low temperature makes infinities of all
    (and 0 of minus infinity over infinity: a forbidden choice that is as likely as the others).
    """
    wide = logits.to(at_least_single(logits))
    below = wide - wide.amax(-1, keepdim=True)
    return (below / temperature).masked_fill(logits == FORBIDDEN, FORBIDDEN)


def at_least_single(logits: Float[Tensor, ...]) -> torch.dtype:
    """The type that probabilities and noise are computed in: in half precision both come out as 0."""
    return torch.promote_types(logits.dtype, torch.float32)


def top_k(logits: Float[Tensor, "*B n"], k: int) -> Likeliest:
    """The `k` likeliest of `logits` (B, n); all of them where k is 0 or more than n. Exactly k on ties."""
    n = logits.shape[-1]
    best = logits.topk(n if k == 0 else min(k, n), dim=-1)
    return Likeliest(best.values, best.indices)


def top_p(likeliest: Likeliest, p: float) -> Likeliest:
    """The fewest of the likeliest whose probabilities reach `p` together; at least one."""
    if p >= 1.0:
        return likeliest
    probabilities = likeliest.logits.softmax(-1, dtype=at_least_single(likeliest.logits))
    is_left_out = probabilities.cumsum(-1) - probabilities >= p  # (B, k): those before it reach p already
    is_left_out[..., 0] = False
    return Likeliest(likeliest.logits.masked_fill(is_left_out, FORBIDDEN), likeliest.indices)


def draw(likeliest: Likeliest, generator: torch.Generator | None = None) -> Int[Tensor, "*B"]:
    """One index (B,) a row, by its probability; never a forbidden one, as long as the row has another.

    The index with the largest ratio of probability to exponential noise: the same law as a multinomial
    draw, without a wait for the device. Noise of exactly 0, which some devices give, would make 0 / 0 of
    a forbidden index, and NaN is the largest of all.
    """
    probabilities = likeliest.logits.softmax(-1, dtype=at_least_single(likeliest.logits))
    noise = torch.empty_like(probabilities).exponential_(generator=generator)
    ratios = probabilities / noise.clamp(min=torch.finfo(noise.dtype).tiny)
    chosen = ratios.masked_fill(likeliest.logits == FORBIDDEN, -1.0).argmax(-1, keepdim=True)
    return likeliest.indices.gather(-1, chosen).squeeze(-1)  # (B, 1) to (B,)


def choose(
    logits: Float[Tensor, "*B n"],
    temperature: float,
    k: int,
    p: float,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "*B"]:
    """Temperature, top-k, top-p, draw: logits (B, n) to indices (B,). Temperature 0 takes the likeliest."""
    if temperature == 0.0:
        return logits.argmax(-1)
    return draw(top_p(top_k(at_temperature(logits, temperature), k), p), generator)


def allowed_positions(
    is_taken: Bool[Tensor, "B L"], last: Int[Tensor, " B"] | None, n_to_come: int | Int[Tensor, 1]
) -> Bool[Tensor, "B L"]:
    """Where the next pair may go: (B, L) bool.

    is_taken (B, L): places that have a code. last (B,): where the last pair went, if positions must rise;
    then a place must also leave room for the `n_to_come` pairs that come after this one.
    """
    allowed = ~is_taken
    if last is None:
        return allowed
    n_places = is_taken.shape[1]
    places = torch.arange(n_places, device=is_taken.device)
    return allowed & (places > last.unsqueeze(1)) & (places < n_places - n_to_come)  # (B, L)


def guided(logits: Float[Tensor, "rows ..."], scale: float) -> Float[Tensor, "B ..."]:
    """Classifier-free guidance: logits (2 B, ...), conditional and then not, to (B, ...).

    The unconditional, plus `scale` times what the condition changes: 1 is the conditional alone, more
    exaggerates it.
    Source: Ho and Salimans 2022, equation 6, whose w is scale - 1, on logits.
    """
    conditional, unconditional = logits.chunk(2)  # (B, ...) each
    return unconditional + scale * (conditional - unconditional)
