"""What a launcher says in the environment, and what is said to whoever half says it."""

from __future__ import annotations

import pytest
import torch

from mvqlab.config import ConfigError
from mvqlab.training.launch import LaunchError, check_precision, make_fabric

NAMES = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK", "GROUP_RANK", "MASTER_PORT")


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"WORLD_SIZE": "2"}, "RANK and LOCAL_RANK not set: start the processes with torchrun"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "LOCAL_RANK not set"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE must be a whole number from 1 on, not 'two'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE must be a whole number from 1 on, not '0'"),
        ({"WORLD_SIZE": "2", "RANK": "a", "LOCAL_RANK": "0"}, "RANK must be a whole number"),
        ({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "0"}, "LOCAL_WORLD_SIZE"),
        ({"WORLD_SIZE": "3", "RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}, "no multiple"),
        ({"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_PORT": "x"}, "MASTER_PORT"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_processes_that_are_half_told_are_an_error_that_says_what_to_do(
    told: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(LaunchError, match=words):
        make_fabric()


@pytest.mark.parametrize("told", [{}, {"WORLD_SIZE": "1"}, {"WORLD_SIZE": "", "RANK": "x"}])
def test_one_process_needs_no_launcher(told: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    assert make_fabric().world_size == 1


def test_without_a_gpu_16_mixed_is_refused_as_bf16_would_run_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"16-mixed needs a GPU.*bf16-mixed"):
        make_fabric("16-mixed")
    check_precision("16-mixed", has_gpu=True)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_precision_that_runs_is_the_one_asked_for(precision: str) -> None:
    images, weights = torch.ones(3, 5), torch.ones(5, 2)
    with make_fabric(precision).autocast():
        assert (images @ weights).dtype == (torch.float32 if precision == "32-true" else torch.bfloat16)
