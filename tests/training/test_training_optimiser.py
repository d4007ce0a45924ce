"""Stage 2's optimisers: what Muon moves, what stays with AdamW, and what is said where there is no Muon."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from tiny_runs import tiny_transformer

from mvqlab.config import ConfigError, Stage2Config
from mvqlab.models.stackformer import Stackformer
from mvqlab.training.optimiser import block_matrices, build_optimiser

RATE = 0.01
needs_muon = pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")


def options(optimiser: str) -> Stage2Config:
    return Stage2Config(optimiser=optimiser, learning_rate=RATE, weight_decay=0.1)


def with_gradients() -> Stackformer:
    torch.manual_seed(0)
    config = tiny_transformer(position_layers=2)
    model = Stackformer(config, codebook_size=7, side=3, n_pairs=5)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    return model


@needs_muon
def test_muon_moves_the_blocks_matrices_and_adamw_all_else() -> None:
    """Muon's step is orthogonal, about as long as AdamW's (0.2 in root mean square, times the rate)."""
    before = with_gradients()
    by_muon, by_adamw = deepcopy(before), deepcopy(before)
    for model, name in ((by_muon, "muon"), (by_adamw, "adamw")):
        for own, given in zip(model.parameters(), before.parameters(), strict=True):
            own.grad = given.grad.clone()
        build_optimiser(model, options(name)).step()
    matrices = {id(matrix) for matrix in block_matrices(by_muon)}
    assert len(matrices) == 3 * 4  # blocks times layers
    rows = zip(before.parameters(), by_muon.parameters(), by_adamw.parameters(), strict=True)
    for old, new, control in rows:
        if id(new) not in matrices:
            assert torch.equal(new, control)
            continue
        moved = new.detach() - (1.0 - 0.1 * RATE) * old.detach()
        lengths = torch.linalg.svdvals(moved) / (0.2 * max(moved.shape) ** 0.5 * RATE)
        assert lengths.min() > 0.5 and lengths.max() < 1.4  # five rounds of Newton-Schulz are not exact


@needs_muon
def test_a_loaded_state_is_what_steps_go_on_from() -> None:
    first = with_gradients()
    optimiser = build_optimiser(first, options("muon"))
    optimiser.step()
    second = deepcopy(first)
    for own, given in zip(second.parameters(), first.parameters(), strict=True):
        own.grad = given.grad.clone()
    resumed = build_optimiser(second, options("muon"))
    resumed.load_state_dict(deepcopy(optimiser.state_dict()))
    for each in (optimiser, resumed):
        for group in each.param_groups:
            group["lr"] = 0.5 * RATE
        each.step()
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_torch_without_muon_says_which_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(ConfigError, match=r"needs torch 2\.9"):
        build_optimiser(with_gradients(), options("muon"))
    build_optimiser(with_gradients(), options("adamw")).step()
