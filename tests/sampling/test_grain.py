"""Pairs that stand for blocks of 2 x 2 regions: what is drawn are whole grains, in every order."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import tiny, tiny_stage1

from mvqlab.config import SamplingConfig
from mvqlab.models.dual_grain import n_pairs_of
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs
from mvqlab.sampling import sample_pairs, sample_plainly
from mvqlab.sampling.completion import KeptPart, box, complete_pairs
from mvqlab.sampling.grain import are_whole_blocks
from mvqlab.training import build_transformer

SIDE = 6
L = SIDE**2
ORDERS = {
    "raster": [],
    "position first": ["transformer.first=position"],
    "score": ["transformer.order=score"],
    "random": ["transformer.order=random", "transformer.first=position"],
}


def model_of(n_fine: int, order: str = "raster") -> PairModel:
    """A Stackformer whose taste in places is strong, and no block's."""
    grid = [f"data.resolution={4 * SIDE}", "mask.kind=dual_grain"]
    ratio = f"mask.mask_ratio={1 - n_pairs_of(n_fine, L) / L}"
    config = tiny(*grid, ratio, *ORDERS[order])
    torch.manual_seed(n_fine)
    model = build_transformer(config, tiny_stage1(*grid, ratio, *ORDERS[order]), n_classes=8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return model.eval()


def grains_of(pairs: Pairs) -> list[list[int]]:
    """How many pairs each block (h/2, w/2, row by row) of each image has; all have their upper left one."""
    has_pair = pairs.is_kept.view(-1, SIDE // 2, 2, SIDE // 2, 2)
    assert has_pair[:, :, 0, :, 0].all()
    return has_pair.sum(dim=(2, 4)).flatten(1).tolist()


@settings(max_examples=24, deadline=None)
@given(n_fine=st.integers(0, 9), order=st.sampled_from(sorted(ORDERS)), seed=st.integers(0, 99))
def test_what_is_drawn_are_whole_grains(n_fine: int, order: str, seed: int) -> None:
    model = model_of(n_fine, order)
    drawn = sample_pairs(model, 6, SamplingConfig(), generator=torch.Generator().manual_seed(seed))
    for grains in grains_of(drawn):
        assert sorted(grains) == [1] * (9 - n_fine) + [4] * n_fine


@pytest.mark.parametrize("order", ORDERS)
def test_reading_everything_anew_draws_the_same(order: str) -> None:
    model = model_of(4, order)
    pairs, plain = (
        draw(model, 5, SamplingConfig(), generator=torch.Generator().manual_seed(3))
        for draw in (sample_pairs, sample_plainly)
    )
    assert torch.equal(pairs.codes, plain.codes) and torch.equal(pairs.positions, plain.positions)


def test_every_choice_of_fine_blocks_can_come() -> None:
    """Of four blocks one is fine: any of them, in some of many images."""
    grid = ["mask.kind=dual_grain", "mask.mask_ratio=0.5625"]  # 16 regions, 7 pairs
    torch.manual_seed(0)
    model = build_transformer(tiny(*grid), tiny_stage1(*grid), n_classes=8).eval()
    drawn = sample_pairs(model, 200, SamplingConfig(), generator=torch.Generator().manual_seed(0))
    has_pair = drawn.is_kept.view(-1, 2, 2, 2, 2).sum(dim=(2, 4)).flatten(1)
    assert {int(row) for row in has_pair.argmax(dim=1)} == {0, 1, 2, 3}


@settings(max_examples=24, deadline=None)
@given(data=st.data(), order=st.sampled_from(sorted(ORDERS)))
def test_a_completion_keeps_its_blocks_and_draws_whole_ones(data: st.DataObject, order: str) -> None:
    n_fine = data.draw(st.integers(0, 9))
    model = model_of(n_fine, order)
    before = sample_pairs(model, 1, SamplingConfig(), generator=torch.Generator().manual_seed(7))
    top, left = (2 * data.draw(st.integers(0, 2)) for _ in range(2))
    bottom, right = (2 * data.draw(st.integers(start // 2 + 1, 3)) for start in (top, left))
    region = box(SIDE, top, left, bottom, right)
    inside = region[before.positions[0]]
    kept = KeptPart(before.codes[0, inside], before.positions[0, inside], region)
    drawn = complete_pairs(model, kept, 4, SamplingConfig(), generator=torch.Generator().manual_seed(1))
    for grains in grains_of(drawn):
        assert sorted(grains) == [1] * (9 - n_fine) + [4] * n_fine
    for codes, positions in zip(drawn.codes.tolist(), drawn.positions.tolist(), strict=True):
        there = {place: code for place, code in zip(positions, codes, strict=True) if region[place]}
        assert there == dict(zip(kept.positions.tolist(), kept.codes.tolist(), strict=True))


def test_a_region_that_cuts_a_block_is_refused() -> None:
    assert are_whole_blocks(box(SIDE, 2, 0, 6, 4)) and not are_whole_blocks(box(SIDE, 2, 0, 6, 3))
    kept = KeptPart(torch.tensor([1]), torch.tensor([0]), box(SIDE, 0, 0, 1, 2))
    with pytest.raises(ValueError, match="even rows and columns"):
        complete_pairs(model_of(3), kept, 1, SamplingConfig(), generator=torch.Generator())
