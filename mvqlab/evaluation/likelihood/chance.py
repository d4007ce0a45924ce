"""What a model would lose that has learned nothing but the rules: the yardstick of stage 2's losses."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def rising_chance(positions: Tensor, n_places: int) -> Tensor:
    """Nats (B, N) of each of the rising `positions` (B, N) if every rising sequence is equally likely.

    A sequence of N of L places is one of L choose N, so each row sums to the logarithm of that. Given the
    pair before, pair n (from 1) goes to p with as many chances as there are ways to go on from p:
    (L - 1 - p choose N - n), of (L - 1 - p_before choose N - n + 1) in all. Raises ValueError unless
    positions rise and lie in 0 .. L - 1.
    """
    before = torch.nn.functional.pad(positions, (1, 0), value=-1)[:, :-1]
    if not bool(((positions > before) & (positions < n_places)).all()):
        raise ValueError(f"positions must rise from 0 to {n_places - 1} at most")
    to_come = torch.arange(positions.shape[1] - 1, -1, -1, device=positions.device)
    ways = _log_choose(n_places - 1 - positions, to_come)
    return _log_choose(n_places - 1 - before, to_come + 1) - ways


def sequence_chance(n_pairs: int, n_places: int, is_rising: bool = True) -> float:
    """Nats a pair of a position that is drawn by the rules alone: no place twice, rising or not."""
    total = math.lgamma(n_places + 1) - math.lgamma(n_places - n_pairs + 1)  # L! / (L - N)!
    if is_rising:
        total -= math.lgamma(n_pairs + 1)
    return total / n_pairs


def _log_choose(n: Tensor, k: Tensor) -> Tensor:
    n, k = n.double(), k.double()
    return (n + 1).lgamma() - (k + 1).lgamma() - (n - k + 1).lgamma()
