"""Counted operations against products that are written out, and what masking saves of them."""

from __future__ import annotations

import pytest
import torch
from tiny_runs import tiny, tiny_stage1
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from mvqlab.data import Batch
from mvqlab.evaluation.operations import (
    drawing_operations,
    operations,
    stage1_operations,
    stage2_operations,
)
from mvqlab.training import build_transformer

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
BATCH = Batch(IMAGES, torch.zeros(2, dtype=torch.long), [""] * 2)


def test_products_count_two_for_each_pair_of_numbers() -> None:
    linear = nn.Linear(5, 7)
    assert operations(lambda: linear(torch.zeros(3, 5))) == 2 * 3 * 5 * 7
    query = torch.zeros(1, 2, 4, 8)
    assert operations(lambda: scaled_dot_product_attention(query, query, query)) == 2 * (2 * 2 * 4 * 4 * 8)


def test_a_step_costs_three_times_its_forward_pass_or_less() -> None:
    model = tiny_stage1()
    with torch.no_grad():
        forward = operations(lambda: model(IMAGES)) / 2 / 1e9
    assert 2.5 * forward < stage1_operations(model, BATCH) < 3.0 * forward


def test_the_models_stay_as_they_are() -> None:
    config, stage1 = tiny(), tiny_stage1()
    stage2 = build_transformer(config, stage1, n_classes=0)
    before = [{k: v.clone() for k, v in model.state_dict().items()} for model in (stage1, stage2)]
    pairs = stage1.encode(IMAGES).pairs
    stage1_operations(stage1, BATCH)
    stage2_operations(stage2, pairs, None)
    drawing_operations(stage2, stage1, pairs, None, config)
    for model, kept in zip((stage1, stage2), before, strict=True):
        assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
        assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_half_the_pairs_cost_a_transformer_half_and_stage_1_the_same() -> None:
    found = {}
    for ratio in ("0.0", "0.5"):
        stage1 = tiny_stage1(f"mask.mask_ratio={ratio}")
        stage2 = build_transformer(tiny(f"mask.mask_ratio={ratio}"), stage1, n_classes=0)
        pairs = stage1.encode(IMAGES).pairs
        found[ratio] = stage1_operations(stage1, BATCH), stage2_operations(stage2, pairs, None)
    assert found["0.5"][0] == pytest.approx(found["0.0"][0], rel=0.1)
    assert found["0.5"][1] == pytest.approx(found["0.0"][1] / 2, rel=0.1)


def test_guidance_reads_every_pair_twice() -> None:
    told = ("transformer.condition=class", "transformer.condition_dropout=0.1")
    free, guided = tiny(*told), tiny(*told, "sampling.code_guidance=2")
    stage1 = tiny_stage1(*told)
    stage2 = build_transformer(free, stage1, n_classes=8)
    pairs = stage1.encode(IMAGES).pairs
    once, twice = (drawing_operations(stage2, stage1, pairs, BATCH.labels, one) for one in (free, guided))
    with torch.no_grad():
        decoder = operations(lambda: stage1.requires_grad_(False).decode(pairs)) / 2 / 1e9
    assert twice - decoder == pytest.approx(2 * (once - decoder))
