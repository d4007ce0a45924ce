"""Draw images from a masked parallel model: all places at once, the surest of which stay (Chang et al. 2022).

    all L places hidden
    T times:  predict every hidden place -> draw what stands there -> fix the surest, hide the rest again

After step t of T there are floor(L cos(pi t / 2 T)) places hidden: few are fixed at first, when little is
known, and many at last. How sure a place is, is the log-probability of what was drawn there, with Gumbel
noise that fades from `parallel_noise` to 0 (published: 4.5).

Where stage 1 keeps N regions of each image, exactly N come out: of the hidden places as many are drawn to be
kept as are still to come, by the model's own law given that number, see `sampling.exactly`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mvqlab.config import SamplingConfig
from mvqlab.models.masked_parallel import MaskedParallel
from mvqlab.models.masking import gumbel_noise, ranks_of
from mvqlab.models.pairs import NO_CODE, Pairs, positions_where
from mvqlab.sampling.chooser import check_generator, rows_to_read
from mvqlab.sampling.exactly import keep_exactly
from mvqlab.sampling.filters import FORBIDDEN, choose, guided
from mvqlab.support.evaluation_mode import evaluation_mode


class Guess(NamedTuple):
    """What was drawn at every place (B, L), a code or `dropped`, and the log-probability of each."""

    tokens: Int[Tensor, "B L"]
    log_p: Float[Tensor, "B L"]


@torch.no_grad()
def sample_in_parallel(
    model: MaskedParallel,
    tokens: Int[Tensor, "B L"],
    settings: SamplingConfig,
    *,
    generator: torch.Generator,
    conditions: Int[Tensor, "B ..."] | None = None,
    progress: Callable[[], object] | None = None,
    on_tokens: Callable[[Int[Tensor, "B L"]], object] | None = None,
) -> Pairs:
    """Draw what is hidden of `tokens` (B, L); positions of the pairs (B, N) that come out rise.

    N is the model's, or less where too few places are hidden; of one whose sequences have an end, as many as
    are drawn, at least one. conditions: as of `sample_pairs`. progress: called after every step. on_tokens:
    the same, with what stands at each place by then. Raises ValueError where the generator is on another
    device than the model.
    """
    check_generator(model, generator)
    _, conditions = rows_to_read(model, len(tokens), settings, conditions)
    n_steps, n_copies = settings.parallel_steps, 2 if settings.is_guided else 1
    n_hidden = (tokens == model.hidden).sum(dim=1)  # (B,)
    with evaluation_mode(model):
        for step in range(1, n_steps + 1):
            is_hidden = tokens == model.hidden
            logits = model.read(tokens.repeat(n_copies, 1), conditions)  # (B or 2 B, L, n)
            to_keep = None if model.has_end else model.n_pairs - is_code(model, tokens).sum(dim=1)  # (B,)
            guess = draw_places(model, tokens, logits, to_keep, settings, generator)
            noise = settings.parallel_noise * (1.0 - step / n_steps) * (settings.temperature > 0.0)
            n_after = hidden_after(step, n_steps, n_hidden)
            is_fixed = surest(guess.log_p, is_hidden, n_after, noise, generator)
            tokens = torch.where(is_fixed, guess.tokens, tokens)
            if progress is not None:
                progress()
            if on_tokens is not None:
                on_tokens(tokens)
    return pairs_of(model, tokens)


def hidden_after(step: int, n_steps: int, n_hidden: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
    """How many (B,) of the `n_hidden` places are still hidden after `step` of `n_steps`: none after the last.

    A quarter of a cosine; one place at least waits for the last step.
    """
    if step == n_steps:
        return torch.zeros_like(n_hidden)
    left = (n_hidden * math.cos(math.pi / 2 * step / n_steps)).long()
    return left.clamp(min=1).minimum(n_hidden)


def draw_places(
    model: MaskedParallel,
    tokens: Int[Tensor, "B L"],
    logits: Float[Tensor, "rows L n"],
    to_keep: Int[Tensor, " B"] | None,
    settings: SamplingConfig,
    generator: torch.Generator,
) -> Guess:
    """What stands at each hidden place: whether it is kept, `to_keep` (B,) of them, and then its code.

    Elsewhere the guess means nothing.
    """
    of_codes = logits[..., : model.codebook_size]  # (rows, L, K)
    log_odds = model.log_odds(logits) if model.can_drop else None  # (rows, L)
    if settings.is_guided:
        of_codes = guided(of_codes, settings.code_guidance)  # (B, L, K)
        log_odds = None if log_odds is None else guided(log_odds, settings.position_guidance)  # (B, L)
    codes = choose(of_codes, settings.temperature, settings.code_top_k, settings.code_top_p, generator)
    log_p = of_codes.log_softmax(-1).gather(-1, codes.unsqueeze(-1)).squeeze(-1)  # (B, L, 1) -> (B, L)
    if log_odds is None:
        return Guess(codes, log_p)
    is_kept = draw_kept(model, tokens, log_odds, to_keep, settings.temperature, generator)
    of_place = F.logsigmoid(torch.where(is_kept, log_odds, -log_odds))  # (B, L)
    return Guess(codes.where(is_kept, model.dropped), of_place + log_p * is_kept)


def draw_kept(
    model: MaskedParallel,
    tokens: Int[Tensor, "B L"],
    log_odds: Float[Tensor, "B L"],
    to_keep: Int[Tensor, " B"] | None,
    temperature: float,
    generator: torch.Generator,
) -> Bool[Tensor, "B L"]:
    """Which hidden places are kept: `to_keep` (B,) of each image, or each by its odds, by itself.

    By themselves, the likeliest is kept as long as an image has no code: it must have one in the end.
    """
    is_hidden = tokens == model.hidden
    if to_keep is not None and temperature > 0.0:
        return keep_exactly((log_odds / temperature).masked_fill(~is_hidden, FORBIDDEN), to_keep, generator)
    noise = gumbel_noise(log_odds, generator) - gumbel_noise(log_odds, generator)  # logistic, (B, L)
    noisy = (log_odds + temperature * noise).masked_fill(~is_hidden, FORBIDDEN)  # above 0 as odds say
    ranks = ranks_of(noisy)  # (B, L), 0 for the likeliest
    if to_keep is not None:
        return is_hidden & (ranks < to_keep.unsqueeze(1))
    has_code = is_code(model, tokens).any(dim=1, keepdim=True)  # (B, 1)
    return is_hidden & ((noisy > 0.0) | (~has_code & (ranks == 0)))


def surest(
    log_p: Float[Tensor, "B L"],
    is_hidden: Bool[Tensor, "B L"],
    n_after: Int[Tensor, " B"],
    noise: float,
    generator: torch.Generator,
) -> Bool[Tensor, "B L"]:
    """Which hidden places are fixed: the surest, so that `n_after` (B,) of each image stay hidden."""
    sure = (log_p + noise * gumbel_noise(log_p, generator)).masked_fill(~is_hidden, FORBIDDEN)
    ranks = ranks_of(sure)  # (B, L), 0 for the surest
    n_fixed = is_hidden.sum(dim=1) - n_after  # (B,)
    return is_hidden & (ranks < n_fixed.unsqueeze(1))


def is_code(model: MaskedParallel, tokens: Int[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
    """Where `tokens` are codes, neither dropped nor hidden."""
    return tokens < model.codebook_size


def pairs_of(model: MaskedParallel, tokens: Int[Tensor, "B L"]) -> Pairs:
    """The pairs (B, N) of a grid of which nothing is hidden any more."""
    positions = positions_where(is_code(model, tokens))  # (B, N), padded with L
    is_padding = positions == tokens.shape[1]
    codes = tokens.gather(1, positions.masked_fill(is_padding, 0)).masked_fill(is_padding, NO_CODE)
    return Pairs(codes, positions, model.side)
