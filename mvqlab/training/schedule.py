"""The learning rate over a run: linear warm-up, then a cosine to zero or to the least rate asked for.

With `warmup_from_zero` and `min_learning_rate` it is the released code's schedule (METHOD: weak point 16).
"""

from __future__ import annotations

import math
import warnings

from torch.optim import Optimizer

from mvqlab.config import OptimiserConfig

RATE_SCALE = "rate_scale"  # entry of a parameter group: what its rate is a multiple of the schedule's


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


class ScheduleWarning(UserWarning):
    """A run goes on by another schedule than the one that it began with. The message has the rates."""


def tell_of_other_schedule(before: OptimiserConfig, now: OptimiserConfig, step: int) -> None:
    """Warn (ScheduleWarning) if a run that began under `before` would go on at another rate from `step` on.

    The cosine spans all steps: with more of them the rate springs up where it had nearly reached zero.
    """
    planned, taken = learning_rate(step, before), learning_rate(step, now)
    if step >= now.steps or math.isclose(planned, taken):
        return
    warnings.warn(
        f"the run was planned for {before.steps} steps and goes on to {now.steps}, over which the cosine of "
        f"the learning rate is spread anew: from step {step + 1} on it is {taken:.3g}, not "
        f"{planned:.3g}, so the result is not that of one run of {now.steps} steps. For runs to "
        "lengthen later, train with cosine=false",
        ScheduleWarning,
        stacklevel=3,
    )


def set_learning_rate(optimiser: Optimizer, rate: float) -> None:
    """Use `rate` in every parameter group from the next step on, times its `RATE_SCALE` where it has one."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get(RATE_SCALE, 1.0)
