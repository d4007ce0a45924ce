"""Noise of processes that train together: each its own, the same again on resume, one model in the end."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as multiprocessing
from tiny_runs import tiny
from torch import Tensor

from mvqlab.config import Config
from mvqlab.data import build_splits
from mvqlab.models.mask_context import MaskContext
from mvqlab.models.scorers import RandomScorer
from mvqlab.models.start import Start
from mvqlab.training import train_stage1, train_stage2
from mvqlab.training.launch import seed_noise
from mvqlab.training.state import random_state, set_random_state

NOISE = [
    "mask.kind=random",
    "quantizer.restart_patience=1",
    "transformer.condition=class",
    "transformer.condition_dropout=0.5",
    *(f"stage{n}.{words}" for n in (1, 2) for words in ("log_every=1", "cosine=false")),
]
N_STEPS, STOPPED_AFTER = 3, 2


def settings(steps: int) -> Config:
    return tiny(*NOISE, f"stage1.steps={steps}", f"stage2.steps={steps}")


def _train(rank: int, port: int, folder: str) -> None:
    """Both stages at once and in two parts; what was drawn and what was learned goes to `folder`."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    os.environ |= {name: str(number) for name, number in told.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "CUDA_VISIBLE_DEVICES": ""}
    torch.set_num_threads(1)
    drawn: dict[str, list[Tensor]] = {}
    score, withhold = RandomScorer.forward, Start.withhold

    def scored(self: RandomScorer, features: Tensor, context: MaskContext) -> Tensor:
        scores = score(self, features, context)
        if self.training:
            drawn["masks"].append(scores)
        return scores

    def withheld(self: Start, conditions: Tensor, share: float) -> Tensor:
        told = withhold(self, conditions, share)
        if share > 0.0:
            drawn["withheld"].append((told != conditions).float())
            drawn["dropout comes after"].append(torch.get_rng_state().float())
        return told

    RandomScorer.forward, Start.withhold = scored, withheld
    splits = build_splits(settings(1).data)
    found = {}
    for name, parts in (("whole", [N_STEPS]), ("parts", [STOPPED_AFTER, N_STEPS])):
        drawn |= {"masks": [], "withheld": [], "dropout comes after": []}
        for stage in (1, 2):
            for steps in parts:
                more = {"resume": steps != parts[0], "splits": splits}
                if stage == 1:
                    stage1 = train_stage1(settings(steps), Path(folder, name, "1"), **more)
                else:
                    stage2 = train_stage2(settings(steps), stage1, Path(folder, name, "2"), **more)
        learned = dict(torch.nn.ModuleList([stage1, stage2]).state_dict())
        found[name] = {"drawn": {key: torch.stack(one) for key, one in drawn.items()}, "learned": learned}
    torch.save(found, Path(folder) / f"{rank}.pt")


@pytest.mark.slow
def test_processes_draw_their_own_noise_the_same_again_on_resume_and_train_one_model(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(_train, (port, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name, drawn in first["whole"]["drawn"].items():
        for mine, others in zip(drawn, second["whole"]["drawn"][name], strict=True):
            assert name == "withheld" or not torch.equal(mine, others), name
    assert not torch.equal(*(rank["whole"]["drawn"]["withheld"] for rank in (first, second)))
    for rank in (first, second):
        for what in ("drawn", "learned"):
            for name, tensor in rank["whole"][what].items():
                assert torch.equal(tensor, rank["parts"][what][name]), name
                assert what == "drawn" or torch.equal(tensor, first["whole"][what][name]), name


def test_each_process_gets_its_own_noise_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of states without others' noise, of older versions or of fewer processes, it has a seed of its own."""
    drawn = []
    for rank in range(3):
        torch.manual_seed(5)
        seed_noise(5, rank)
        drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], torch.rand(4, generator=torch.Generator().manual_seed(5)))
    assert len({tuple(numbers.tolist()) for numbers in drawn}) == 3

    def all_three(mine: dict[str, object]) -> list[dict[str, object]]:
        return [mine, *({**mine, "cpu": torch.Generator().manual_seed(n).get_state()} for n in (21, 22))]

    monkeypatch.setattr("mvqlab.training.state.from_every_rank", all_three)
    state = random_state()
    mine = torch.rand(3)
    wanted = [mine, *(torch.rand(3, generator=torch.Generator().manual_seed(n)) for n in (21, 22))]
    for rank, numbers in enumerate(wanted):
        set_random_state(state, rank)
        assert torch.equal(torch.rand(3), numbers)
    seed_noise(5, 3, step=7)
    before = torch.get_rng_state()
    set_random_state(state, 3)
    assert torch.equal(before, torch.get_rng_state())
