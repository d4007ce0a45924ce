"""The quickest way that a machine has for the step that `sample_pairs` repeats.

    CPU    weights in the order that its libraries like best (`models.linear`)
    GPU    with `cuda_graph`, the kernels of a step launched as one, and compiled or hand-written ones

All ways draw from the same laws. What a student reads is `sampling.plain`, then `sampling.draw_pairs`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from mvqlab.config import SamplingConfig
from mvqlab.models.key_value_cache import KeyValueCache, StaticKeyValueCache
from mvqlab.models.linear import packed_linears
from mvqlab.models.pair_model import PairModel
from mvqlab.sampling.cuda_graph import ReplayedStep
from mvqlab.sampling.filters import choose
from mvqlab.sampling.quick_steps import quick_choice, quick_steps


class Way(NamedTuple):
    """A kind of cache, `filters.choose` or the like, and what makes a repeated step quick."""

    cache: type[KeyValueCache] = KeyValueCache
    choose: Callable[..., Tensor] = choose
    repeated: Callable[[Callable[[], None]], Callable[[], None]] = lambda step: step


@contextmanager
def quick_way(
    model: PairModel, n_rows: int, settings: SamplingConfig, generator: torch.Generator, can_replay: bool
) -> Iterator[Way]:
    """Inside the `with`, steps of `model` for `n_rows` sequences go the quick way that `settings` allow.

    can_replay: the step does the same every time, and calls nobody.
    """
    is_replayed = settings.cuda_graph and generator.device.type == "cuda" and can_replay
    kernels = settings.kernels if is_replayed else "plain"
    with (
        packed_linears(model, n_rows),
        quick_steps(model, kernels, n_rows),
        attention_without_plans(is_needed=not is_replayed),
    ):
        if is_replayed:
            replayed = partial(ReplayedStep, generator=generator)
            yield Way(StaticKeyValueCache, quick_choice(kernels), replayed)
        else:
            yield Way()


@contextmanager
def attention_without_plans(is_needed: bool = True) -> Iterator[None]:
    """Inside the `with`, attention is not cuDNN's, if that `is_needed`: where the number of keys grows.

    On an H100, torch hands attention in half precision to cuDNN, which plans anew, for tens of milliseconds,
    at every length that it has not seen: at every pair, that is. The other kernels need no plan. The setting
    is torch's, of the whole process, while it lasts.
    """
    was_enabled = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(was_enabled and not is_needed)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(was_enabled)
