"""What all tests share: a fixed number of threads, fixed seeds, no windows."""

from __future__ import annotations

import os

os.environ.setdefault(
    "MPLBACKEND", "Agg"
)  # before anything imports matplotlib; notebooks' kernels inherit it

import hypothesis
import pytest
import torch

# the order in which threads add up changes the last bits, and small tensors gain nothing from many threads
torch.set_num_threads(min(2, os.cpu_count() or 1))

# no deadline: on a busy machine the first example pays for everything that is loaded late
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same global seed, whichever tests ran before it."""
    torch.manual_seed(0)
