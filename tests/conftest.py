"""What all tests share: shapes checked, one thread, fixed seeds, no windows."""

from __future__ import annotations

import os

# before anything imports matplotlib or torch; processes that tests start, such as kernels, inherit it
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator

import hypothesis
import jaxtyping
import pytest
import torch

# The shapes in signatures, such as Float[Tensor, "B L"], are checked at every call: under pytest only (see
# `_shapes_checked`), before anything imports these modules.
SHAPES_CHECKED = ["mvqlab.models", "mvqlab.sampling", "mvqlab.training.losses"]
jaxtyping.install_import_hook(SHAPES_CHECKED, "shape_checks.check_types")

# The order in which threads add up changes the last bits. And with small tensors one is the quickest: threads
# of two workers on two cores wait for one another by spinning, which took up to ten times the time.
torch.set_num_threads(1)

# no deadline: on a busy machine the first example pays for everything that is loaded late
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same global seed, whichever tests ran before it."""
    torch.default_generator.manual_seed(0)  # that of the CPU: `torch.manual_seed` takes a millisecond more


@pytest.fixture(autouse=True)
def _shapes_checked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Shapes are checked in the quick tests of the rooms that say them: elsewhere the checks cost too much.

    Nor could torch.compile look into them; a test whose subject is another check leaves them out by its mark.
    """
    is_unasked = request.node.get_closest_marker("shapes_unchecked") is not None
    of_method = request.path.parent.name in ("models", "sampling") or request.path.stem == "test_losses"
    is_slow = request.node.get_closest_marker("slow") is not None
    jaxtyping.config.update("jaxtyping_disable", is_slow or is_unasked or not of_method)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
