"""Checks of lesson 6's exercises."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mvqlab.config import Config
from mvqlab.course.exercises import exercise
from mvqlab.data.dataset import Splits
from mvqlab.evaluation.likelihood.chance import sequence_chance
from mvqlab.models.pairs import Pairs
from mvqlab.models.transformers import build_stage2
from mvqlab.sampling.filters import allowed_positions, top_k, top_p
from mvqlab.sampling.trace import SamplingTrace, drawing_law


def exercise_1(check: exercise, read_sequence: Any, pairs: Pairs, K: int, L: int) -> None:
    """What is read: the pairs, shifted."""
    answer = read_sequence(pairs.codes, pairs.positions)
    check.done(answer)
    check.equal(
        answer[0][:, 0], torch.full((len(pairs),), K), "The start code is number K, the last row of E."
    )
    check.equal(answer[1][:, 0], torch.full((len(pairs),), L), "The start position is number L.")
    check.equal(answer[0][:, 1:], pairs.codes[:, :-1], "After the start come all codes but the last.")
    check.equal(answer[1][:, 1:], pairs.positions[:, :-1], "The same for positions.")


def exercise_2(
    check: exercise,
    chance_code: Any,
    chance_position: Any,
    rules_position: Any,
    seed: int,
    K: int,
    side: int,
    N: int,
    splits: Splits,
    config: Config,
    pairs: Pairs,
    groups: Tensor,
    L: int,
) -> None:
    """Losses of an untrained model."""
    check.done(chance_code, chance_position, rules_position)
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {
        "codebook_size": K,
        "side": side,
        "n_pairs": N,
        "n_classes": len(splits.class_names),
    }
    with torch.no_grad():
        untrained = build_stage2(config.transformer, **sizes).eval().loss(pairs, groups)
    check.that(abs(chance_code - untrained.codes) < 0.05, "K codes alike: each has probability 1 / K.")
    check.that(
        abs(chance_position - untrained.positions) < 0.05, "L places alike: each has probability 1 / L."
    )
    check.equal(rules_position, sequence_chance(N, L), "log of (L choose N), shared among N positions.", 1e-3)


def exercise_3(
    check: exercise,
    bits_per_image: Any,
    code_nats: Tensor,
    position_nats: Tensor,
    code_loss: float,
    position_loss: float,
    N: int,
) -> None:
    """Bits of an image."""
    check.equal(bits_per_image(math.log(2), 0.0, 7), 7.0, "A loss of log 2 nats is one bit a pair.")
    expected = (code_nats + position_nats).sum(dim=1).mean() / math.log(2)
    check.equal(
        bits_per_image(code_loss, position_loss, N), expected, "Are both losses in, N times each?", 1e-3
    )


def exercise_4(check: exercise, may_go: Any, N: int, trace: SamplingTrace, drawn: int, L: int) -> None:
    """Places that the next pair may take."""
    first = may_go(-1, 0, 3, 5)
    check.done(first)
    check.equal(first.int(), [1, 1, 1, 0, 0], "Two more pairs follow, so two places must stay free behind.")
    check.equal(
        may_go(2, 2, 3, 5).int(), [0, 0, 0, 1, 1], "The last pair may go anywhere behind the one before."
    )
    for n in range(N):
        last = trace.pairs.positions[drawn, n - 1] if n else torch.tensor(-1)
        taken = trace.is_taken(n)[drawn : drawn + 1]
        truth = allowed_positions(taken, last.view(1), N - n - 1)[0]
        check.equal(
            may_go(int(last), n, N, L).int(), truth.int(), f"It differs from the library's at pair {n}."
        )


def exercise_5(check: exercise, nucleus: Any, here: Tensor, plain: str) -> None:
    """Top-p."""
    example = torch.tensor([0.1, 0.5, 0.3, 0.1])
    check.equal(
        nucleus(example, 0.6), [0.0, 0.625, 0.375, 0.0], "0.5 is not enough, 0.5 + 0.3 is. Sum to one."
    )
    check.equal(nucleus(example, 0.2), [0.0, 1.0, 0.0, 0.0], "The likeliest stays, even if it overshoots p.")
    for p in (0.3, 0.8, 0.95):
        left = top_p(top_k(here[None], 0), p)
        n_left = int(left.logits.isfinite().sum())
        answer = nucleus(plain, p)
        check.that(int((answer > 0).sum()) == n_left, f"At p = {p} there should be {n_left} choices left.")
        check.equal(answer, drawing_law(here, 1.0, 0, p), "Is every probability back at its own index?")
