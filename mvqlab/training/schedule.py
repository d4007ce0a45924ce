"""The learning rate over a run: linear warm-up, then a cosine to zero or to the least rate asked for.

With `warmup_from_zero` and `min_learning_rate` it is the released code's schedule (METHOD: weak point 16).
"""

from __future__ import annotations

import math

from torch.optim import Optimizer

from mvqlab.config import OptimiserConfig


def learning_rate(step: int, config: OptimiserConfig) -> float:
    """Learning rate of `step`, counted from 0."""
    if step < config.warmup_steps:
        warmed = step if config.warmup_from_zero else step + 1
        return config.learning_rate * warmed / config.warmup_steps
    if not config.cosine:
        return config.learning_rate
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    rate = config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return max(rate, config.min_learning_rate)


def set_learning_rate(optimiser: Optimizer, rate: float) -> None:
    """Use `rate` in every parameter group from the next step on."""
    for group in optimiser.param_groups:
        group["lr"] = rate
