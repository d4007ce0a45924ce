"""How many steps each number of finite scalar quantisation has, for as many codes as are asked for."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement

FEWEST, MOST = 3, 8  # steps of a number; the paper takes 5 to 8 where it may choose K
MOST_NUMBERS = 8


def even_levels(codebook_size: int) -> tuple[int, ...]:
    """Steps, largest first, whose product is `codebook_size`: few, then even ones; () where none fit."""
    for n_numbers in range(1, MOST_NUMBERS + 1):
        fitting = [
            levels
            for levels in combinations_with_replacement(range(FEWEST, MOST + 1), n_numbers)
            if math.prod(levels) == codebook_size
        ]
        if fitting:
            return min(fitting, key=lambda levels: levels[-1] - levels[0])[::-1]
    return ()
