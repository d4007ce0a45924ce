"""Exactly n of L places, each kept by its odds: independent coins, given how many fall on *kept*.

    ways(l, m) = log of the sum, over all choices of m of the places from l on, of the product of their odds
    at place l, with m still to keep: left out with probability ways(l + 1, m) / ways(l, m), as logarithms

So a choice has the chance that the coins give it, over that of all choices of n. The best n of the odds with
Gumbel noise have another law: it lets the likely places crowd out the others.

Source: conditional Bernoulli sampling, Chen, Dempster and Liu 1994, section 2.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def keep_exactly(
    log_odds: Float[Tensor, "B L"], n: Int[Tensor, " B"], generator: torch.Generator
) -> Bool[Tensor, "B L"]:
    """Which places of each image are kept: `n` (B,) of them, none whose `log_odds` are minus infinity.

    Of fewer possible places than n all are kept.
    """
    n = n.minimum((log_odds > -torch.inf).sum(dim=1))  # (B,)
    ways = _ways(log_odds.double(), max(n.tolist(), default=0))  # (L + 1, B, n + 1)
    draws = torch.rand(log_odds.shape, generator=generator, device=log_odds.device, dtype=torch.double)
    kept, to_keep = [], n.unsqueeze(1)  # (B, 1)
    for place in range(log_odds.shape[1]):
        left_out = (ways[place + 1].gather(1, to_keep) - ways[place].gather(1, to_keep)).exp()  # (B, 1)
        kept.append(draws[:, place : place + 1] >= left_out)
        to_keep = to_keep - kept[-1].long()
    return torch.cat(kept, dim=1)


def _ways(log_odds: Float[Tensor, "B L"], most: int) -> Float[Tensor, "L1 B n"]:
    """`ways` of the module's words, for m up to `most`, from each place on, and from beyond the last one."""
    ways = [log_odds.new_full((len(log_odds), most + 1), -torch.inf)]
    ways[0][:, 0] = 0.0  # none of no places, in one way
    for odds in reversed(log_odds.unbind(dim=1)):  # (B,)
        without = ways[-1]
        fewer = torch.cat([torch.full_like(without[:, :1], -torch.inf), without[:, :-1]], dim=1)
        ways.append(torch.logaddexp(without, fewer + odds.unsqueeze(1)))  # (B, most + 1)
    return torch.stack(ways[::-1])
