"""Many small kernels launched as one: a step that always has the same shapes, replayed as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable

import torch

WARM_UP = 3  # libraries allocate and choose kernels in their first calls, which a capture does not allow


class ReplayedStep:
    """`step` as it is for the first calls, then captured once and replayed.

    step: reads and writes tensors in place, with fixed shapes and without waiting for the device.
    generator: what it draws from; every replay goes on from where the last one stopped.
    """

    def __init__(self, step: Callable[[], None], generator: torch.Generator) -> None:
        self.step, self.generator = step, generator
        self.stream = torch.cuda.Stream()
        self.graph: torch.cuda.CUDAGraph | None = None
        self.n_calls = 0

    def __call__(self) -> None:
        if self.n_calls < WARM_UP:
            self._run_aside()
        else:
            if self.graph is None:
                self.graph = self._capture()
            self.graph.replay()
        self.n_calls += 1

    def _run_aside(self) -> None:
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            self.step()
        torch.cuda.current_stream().wait_stream(self.stream)

    def _capture(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.generator)
        with torch.cuda.graph(graph):
            self.step()
        return graph
