"""Who hears whom, as measured, is what the method says."""

from __future__ import annotations

import pytest
import torch
from tiny_runs import tiny_transformer
from torch import Tensor

from mvqlab.evaluation.likelihood.causality import logit_changes
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs
from mvqlab.models.transformers import build_stage2

K, SIDE, N = 11, 4, 6


def small(**changes: object) -> PairModel:
    torch.manual_seed(0)
    config = tiny_transformer(code_layers=2, position_layers=2, **changes)
    n_pairs = SIDE**2 if config.model == "raster" else N
    model = build_stage2(config, codebook_size=K, side=SIDE, n_pairs=n_pairs)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


def some_pairs(n: int = N) -> Pairs:
    torch.manual_seed(1)
    return Pairs(torch.randint(K, (1, n)), torch.randperm(SIDE**2)[:n].sort().values[None], SIDE)


def later(n: int = N) -> Tensor:
    """True where the prediction (column) comes after the change (row)."""
    return torch.ones(n, n).triu(1).bool()


@pytest.mark.parametrize("first", ["code", "position"])
def test_the_second_part_hears_the_first_of_its_own_pair_and_nothing_else_early(first: str) -> None:
    model, own = small(first=first), torch.eye(N).bool()
    for part in ("code", "position"):
        moved = logit_changes(model, some_pairs(), part)
        of_first, of_second = (moved.codes, moved.positions) if first == "code" else moved[::-1]
        assert torch.equal(of_first > 0, later())
        assert torch.equal(of_second > 0, later() | own if part == first else later())


def test_a_change_is_as_large_as_doing_it_by_hand() -> None:
    model, pairs = small(), some_pairs()
    codes = pairs.codes.clone()
    codes[0, 2] = (codes[0, 2] + 1) % K
    with torch.no_grad():
        before, after = model(pairs), model(Pairs(codes, pairs.positions, SIDE))
    found = logit_changes(model, pairs, "code")
    by_hand = (after.code_logits - before.code_logits)[0].abs().amax(-1)
    torch.testing.assert_close(found.codes[2], by_hand, atol=1e-5, rtol=1e-4)
    assert pairs.codes[0, 2] != codes[0, 2], "the pairs that were handed over stay as they are"


def test_a_raster_model_has_no_logits_of_positions() -> None:
    model = small(model="raster", match_parameters=False)
    moved = logit_changes(model, some_pairs(SIDE**2), "code")
    assert torch.equal(moved.codes > 0, later(SIDE**2)) and moved.positions is None


def test_one_image_is_asked_for() -> None:
    with pytest.raises(ValueError, match="one image, not of 3"):
        logit_changes(small(), Pairs(torch.zeros(3, N).long(), torch.arange(N).expand(3, N), SIDE), "code")


def test_a_model_of_classes_is_told_the_class_of_the_image() -> None:
    config = tiny_transformer(code_layers=2, position_layers=2, condition="class")
    torch.manual_seed(0)
    model = build_stage2(config, codebook_size=K, side=SIDE, n_pairs=N, n_classes=3).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    moved = [logit_changes(model, some_pairs(), "code", torch.tensor([label])).codes for label in (0, 1)]
    assert torch.equal(moved[0] > 0, later()) and torch.equal(moved[1] > 0, later())
    assert not torch.equal(*moved)
