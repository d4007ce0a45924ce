"""Checks of lesson 9's exercises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mvqlab.course.exercises import exercise
from mvqlab.evaluation import codebook_usage
from mvqlab.models.codebook import Codebook
from mvqlab.models.restarts import NoRestart
from mvqlab.models.stackformer import Stackformer
from mvqlab.sampling import sample_pairs, sample_plainly


def exercise_1(check: exercise, chance_of_no_visit: Any) -> None:
    """The chance that a code is not visited."""
    check.equal(
        chance_of_no_visit(1, 4), 0.75, "One feature misses a given code of four three times in four."
    )
    draws = torch.randint(1024, (400, 256), generator=torch.Generator().manual_seed(0))
    missed = 1 - (draws[:, :, None] == torch.arange(64)).any(dim=1).float().mean()
    check.equal(chance_of_no_visit(256, 1024), missed, "Each feature chooses by itself: multiply.", 0.02)


def exercise_2(check: exercise, decay_once: Any, batch: Tensor, chosen: Tensor, twice: Codebook) -> None:
    """One decay for two."""
    check.done(decay_once)
    single = Codebook(2, 2, check.number(decay_once), NoRestart())
    single.update(batch, chosen)
    check.equal(single.ema_counts, twice.ema_counts, "Put n -> 0.99 n + 0.01 c into itself.")


def exercise_3(check: exercise, in_training: Any) -> None:
    """A network that stays asleep."""
    ones = torch.ones(1000)
    answer = in_training(ones, 0.5)
    check.done(answer)
    check.equal(answer[0], ones, "`train(True)` of the parent still reaches the network.")
    check.that((answer[1] == 0).any(), "Its neighbours should train as before.")
    check.that(answer[2], "Like every `train`, it should return the module.")


def exercise_4(
    check: exercise, places_read: Any, stackformer: Stackformer, drawn_by: Callable[..., Any], N: int
) -> None:
    """Places read with and without the cache."""
    counted = []
    stacks = (stackformer.code_transformer, stackformer.position_transformer)
    hooks = [
        s.register_forward_hook(lambda m, given, made: counted.append(given[0].shape[1])) for s in stacks
    ]
    work = {}
    for way in (sample_pairs, sample_plainly):
        counted.clear()
        drawn_by(way, 1)
        work[way] = sum(counted)
    for hook in hooks:
        hook.remove()
    check.equal(places_read(N, True), work[sample_pairs], "Two transformers, one place a pair.")
    hint = "Two transformers, two parts of a pair, and 1 + 2 + ... + N places each time."
    check.equal(places_read(N, False), work[sample_plainly], hint)


def exercise_5(check: exercise, highest_perplexity: Any) -> None:
    """The bound on perplexity."""
    for m, k in ((512, 1024), (1024, 512), (300, 300)):
        most = codebook_usage(torch.arange(m) % k, k).perplexity
        check.equal(
            highest_perplexity(m, k), most, f"{m} features can use how many of {k} codes at most?", 1e-3
        )
