"""Training steps captured once and replayed: no Python, no launch and no wait in the inner loop.

A small model's step is hundreds of small kernels, and a processor launches them more slowly than a large GPU
runs them. A CUDA graph launches all of a step at once. For that a step must have fixed shapes, read and write
tensors in place and never wait for the device; where steps differ in shape (a mask ratio drawn for each
batch), each shape is a graph of its own. Without a GPU the same steps are simply called.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mvqlab.config import OptimiserConfig

WARM_UP = 3  # calls of a step before it is captured: libraries choose kernels and allocate in their first
ENDLESS = 1e9  # steps of a run whose length is not known yet


class CapturedSteps:
    """`step(shape)` for a few `shapes`; on a GPU each is captured, then replayed.

    step: one training step of the given shape, which leaves no gradients: a graph has its own. Shapes
    are drawn with equal chances, from `seed`.
    """

    def __init__(
        self, step: Callable[[int], None], shapes: Sequence[int], device: torch.device, seed: int
    ) -> None:
        self.step, self.shapes, self.device = step, list(shapes), device
        self.random = random.Random(seed)
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def capture(self) -> int:
        """Warm up and capture every shape; returns how many training steps that took."""
        if self.device.type != "cuda":
            return 0
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for n, shape in enumerate(self.shapes):
                for _ in range(WARM_UP if n == 0 else 1):
                    self.step(shape)
        torch.cuda.current_stream().wait_stream(aside)
        pool = torch.cuda.graph_pool_handle()
        for shape in self.shapes:
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                self.step(shape)
            self.graphs[shape] = graph
        return WARM_UP + len(self.shapes) - 1

    def __call__(self) -> None:
        """One training step of a random shape."""
        shape = self.random.choice(self.shapes)
        if self.graphs:
            self.graphs[shape].replay()
        else:
            self.step(shape)


class Schedule:
    """Warm-up and cosine as in `training.schedule`, counted on the device: a replayed step has its own rate.

    rate (): what the optimiser reads. total (): the run's steps, which may be set when it is under way.
    """

    def __init__(self, options: OptimiserConfig, device: torch.device) -> None:
        self.options = options
        self.step = torch.zeros((), device=device)
        self.total = torch.full((), ENDLESS, device=device)
        self.rate = torch.full((), options.learning_rate, device=device)

    def advance(self) -> None:
        """Set `rate` for the step at hand and count it."""
        warm_up = self.options.warmup_steps
        is_warm = self.step >= warm_up
        warmed = self.step if self.options.warmup_from_zero else self.step + 1.0
        share = torch.where(is_warm, 1.0, warmed / max(1, warm_up))
        if self.options.cosine:
            progress = ((self.step - warm_up) / (self.total - warm_up).clamp(min=1.0)).clamp(0.0, 1.0)
            share = share * 0.5 * (1.0 + (math.pi * progress).cos())
            least = self.options.min_learning_rate / self.options.learning_rate
            share = torch.where(is_warm, share.clamp(min=least), share)
        self.rate.copy_(self.options.learning_rate * share)
        self.step.add_(1.0)


class Means:
    """Means of a step's losses since they were last read; adding to them does not wait for the device."""

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        self.names = list(names)
        self.sums = torch.zeros(len(self.names), device=device)
        self.count = torch.zeros((), device=device)

    def add(self, values: dict[str, Tensor]) -> None:
        self.sums.add_(torch.stack([values[name].detach().float() for name in self.names]))
        self.count.add_(1.0)

    def read(self) -> dict[str, float]:
        """The means, which begin anew. Raises FloatingPointError if one is not finite."""
        means = (self.sums / self.count.clamp(min=1.0)).tolist()
        self.sums.zero_()
        self.count.zero_()
        if not all(map(math.isfinite, means)):
            raise FloatingPointError(f"the losses are {dict(zip(self.names, means, strict=True))}")
        return dict(zip(self.names, means, strict=True))


class RunningAverage:
    """A second copy of a model, whose weights follow the first's: w <- decay * w + (1 - decay) * weights."""

    def __init__(self, model: nn.Module, copy: nn.Module, decay: float) -> None:
        self.trained, self.copy, self.decay = model, copy, decay
        self.weights: list[Tensor] = list(copy.parameters())
        self.followed: list[Tensor] = list(model.parameters())
        for weight in self.weights:
            weight.requires_grad_(False)

    @torch.no_grad()
    def update(self) -> None:
        """Follow the weights by one step."""
        torch._foreach_lerp_(self.weights, self.followed, 1.0 - self.decay)

    @torch.no_grad()
    def restart(self) -> None:
        """Begin from the weights as they are."""
        torch._foreach_copy_(self.weights, self.followed)

    @torch.no_grad()
    def model(self) -> Any:
        """The copy in evaluation mode, with today's buffers (codebook, batch norm)."""
        for mine, theirs in zip(self.copy.buffers(), self.trained.buffers(), strict=True):
            mine.copy_(theirs)
        return self.copy.eval()
