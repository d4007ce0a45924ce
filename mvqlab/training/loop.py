"""The loop that both stages share: step, log, validate, save, until the last step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from mvqlab.config import OptimiserConfig
from mvqlab.support.progress import Progress
from mvqlab.training.curves import Curves

Losses = dict[str, Tensor]
OnStep = Callable[[int, dict[str, float]], None]
OnModel = Callable[[int, nn.Module], None]


def run_steps(
    title: str,
    options: OptimiserConfig,
    first: int,
    *,
    take_step: Callable[[int], Losses],
    validate: Callable[[], Losses],
    save: Callable[[int], None],
    curves: Curves,
    folder: Path,
    on_step: OnStep | None = None,
) -> None:
    """Train from step `first` to `options.steps`.

    take_step(step) makes one update and returns its losses; validate() returns held-out losses;
    save(step) writes the run after `step` steps. Losses are read from the device only where they are
    logged, every `options.log_every` steps; `on_step(step, values)` is called then.

    Raises FloatingPointError if a loss that is logged, or that of a step which is to be saved, is not finite.
    """
    began = time.perf_counter() - curves.seconds
    with Progress(title, options.steps, first, folder) as progress:
        for step in range(first, options.steps):
            losses = take_step(step)
            done = step + 1
            values: dict[str, float] = {}
            if is_due(done, options.log_every, options.steps):
                values = read(losses, f"{title}, step {done}")
                curves.add(done, "train", time.perf_counter() - began, **values)
                if on_step is not None:
                    on_step(done, values)
            if is_due(done, options.validate_every, options.steps):
                held_out = read(validate(), f"{title}, validation after step {done}")
                curves.add(done, "validation", time.perf_counter() - began, **held_out)
            if is_due(done, options.checkpoint_every, options.steps):
                read(losses, f"{title}, step {done}")
                save(done)
            progress.advance(**{name: values[name] for name in ("loss",) if name in values})


def with_model(
    on_step: OnStep | None, on_model: OnModel | None, kept: nn.Module, trained: nn.Module
) -> OnStep | None:
    """`on_step`, and after it `on_model` with the model that is `kept`; then what is `trained` goes on."""
    if on_model is None:
        return on_step

    def on_both(step: int, values: dict[str, float]) -> None:
        if on_step is not None:
            on_step(step, values)
        on_model(step, kept.eval())
        trained.train()

    return on_both


def is_due(step: int, every: int, last: int) -> bool:
    """Whether something done `every` steps (0: never) and at the `last` is due after `step` steps."""
    return step == last or (every > 0 and step % every == 0)


def read(losses: Losses, where: str) -> dict[str, float]:
    """Losses as numbers. Raises FloatingPointError if one of them is not finite."""
    values = {name: float(value) for name, value in losses.items()}
    for name, value in values.items():
        if not math.isfinite(value):
            named = "loss" if name == "loss" else f"loss '{name}'"
            raise FloatingPointError(
                f"{where}: the {named} is {value}. Try a lower learning_rate, a gradient_clip, "
                "or precision 32-true"
            )
    return values
