"""Small networks that judge: how all of them learn and answer, and that each is trained once and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mvqlab.support.disk_cache import Place, made_once
from mvqlab.support.finite import check_finite
from mvqlab.support.progress import Progress

Network = TypeVar("Network", bound=nn.Module)
Judge = TypeVar("Judge", bound=nn.Module)
Some = TypeVar("Some")  # a batch, of whatever kind


def convolution(n_in: int, n_out: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """The block that they are made of: convolution, batch norm, ReLU; a `stride` of 1 keeps the side.

    Batch norm, unlike the other norms, leaves an image's own contrast in its features.
    """
    layer = nn.Conv2d(n_in, n_out, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(n_out), nn.ReLU())


@torch.enable_grad()
def train_judging_network(
    build: Callable[[], Network],
    batches: Iterable[Some],
    loss_of: Callable[[Network, Some], Tensor],
    steps: int,
    *,
    seed: int,
    title: str,
    highest_rate: float,
    weight_decay: float = 0.01,
    device: torch.device | str = "cpu",
) -> Network:
    """What `build` makes of `seed`, trained on `device` for one step on each of the first `steps` batches.

    AdamW under a one-cycle rate up to `highest_rate` minimises `loss_of(network, batch)` (). title: what the
    progress is called. weight_decay: by default torch's. The network comes back in evaluation mode, and
    torch's own random numbers are left alone.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build().to(device)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, highest_rate, total_steps=steps)
    with Progress(title, steps) as progress:
        for batch in islice(batches, steps):
            loss = loss_of(network, batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            progress.advance(loss=loss.item())
    return network.eval()


@torch.no_grad()
def count_right(answered: Iterable[tuple[Tensor, Tensor]]) -> tuple[int, int]:
    """How many answers are right, and how many there are: batches of found and of true ones, (B,) each."""
    n_right = n_answers = 0
    for found, true in answered:
        n_right += int((found.cpu() == true).sum())
        n_answers += len(true)
    return n_right, n_answers


class AlwaysEvaluating(nn.Module):
    """A finished network, which stays in evaluation mode, whatever what holds it is put into."""

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever `mode` is."""
        return super().train(False)


class JudgingNetwork(NamedTuple):
    """A trained network, and what its file is to say about it, such as its accuracy."""

    network: nn.Module
    about: dict[str, str]


def trained_once(
    name: str,
    empty: Callable[[], nn.Module],
    train: Callable[[], JudgingNetwork],
    finish: Callable[[Any, dict[str, str]], Judge],
    cache: Path | None = None,
) -> Judge:
    """What `finish` makes of the network called `name` and its facts: read from `cache`, or trained first.

    `name` must hold all that the network depends on. `empty` builds one of the same form, for weights to
    be read into. `cache`: see `disk_cache.made_once`. Raises OSError, before any training, if the folder
    cannot be written.
    """
    place = Place(f"{name}.safetensors", "trained network", cache=cache)
    return finish(*made_once(place, train, partial(_read, empty, finish), _write, must_keep=True))


def _read(
    empty: Callable[[], nn.Module], finish: Callable[[Any, dict[str, str]], nn.Module], path: Path
) -> JudgingNetwork:
    """What is in `path`. Raises where it is not what `finish` takes."""
    with torch.device("meta"):  # draws no random numbers, of which others count on the next
        network = empty()
    with safe_open(path, framework="pt") as file:
        about = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for key, values in weights.items():
        check_finite(key, values)
    network.load_state_dict(weights, assign=True)
    finish(network, about)
    return JudgingNetwork(network, about)


def _write(trained: JudgingNetwork, path: Path) -> None:
    tensors = {name: tensor.cpu().contiguous() for name, tensor in trained.network.state_dict().items()}
    for name, values in tensors.items():
        check_finite(f"{name} of the network to be kept in {path}", values)
    save_file(tensors, path, metadata=trained.about)
