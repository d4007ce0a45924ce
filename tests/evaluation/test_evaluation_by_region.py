"""Bits of object and ground pairs: each pair is counted once, where it lies."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tiny_runs import tiny_transformer, write_run

from mvqlab.data import build_splits
from mvqlab.evaluation.likelihood.bits import bits_of_each, image_bits
from mvqlab.evaluation.likelihood.by_region import bits_by_region, object_and_ground_bits
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import NO_CODE, Pairs
from mvqlab.models.transformers import build_stage2
from mvqlab.training import load_stage1, load_stage2

K, SIDE, N, B = 13, 4, 5, 7


def some_model() -> PairModel:
    torch.manual_seed(0)
    model = build_stage2(tiny_transformer(), codebook_size=K, side=SIDE, n_pairs=N).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def some_pairs() -> Pairs:
    generator = torch.Generator().manual_seed(1)
    places = [torch.randperm(SIDE**2, generator=generator)[:N].sort().values for _ in range(B)]
    return Pairs(torch.randint(K, (B, N), generator=generator), torch.stack(places), SIDE)


def test_each_pair_is_counted_where_it_lies() -> None:
    """One region of every image is object: its pairs alone make that figure, and all others the other."""
    model, pairs = some_model(), some_pairs()
    is_object = torch.zeros(B, SIDE**2, dtype=torch.bool)
    is_object[torch.arange(B), pairs.positions[:, 2]] = True
    found = bits_by_region(model, pairs, is_object, batch_size=3)
    each = bits_of_each(model, pairs)
    assert found["bits_per_object_pair"] == pytest.approx(float(each[:, 2].mean()), rel=1e-5)
    assert found["bits_per_ground_pair"] == pytest.approx(float(each[:, [0, 1, 3, 4]].mean()), rel=1e-5)
    assert found["object_pair_share"] == pytest.approx(1 / N)
    torch.testing.assert_close(each.sum(dim=1), image_bits(model, pairs))


def test_padding_is_neither_object_nor_ground() -> None:
    model, pairs = some_model(), some_pairs()
    codes, positions = pairs.codes.clone(), pairs.positions.clone()
    codes[1, 3:], positions[1, 3:] = NO_CODE, SIDE**2
    shorter = Pairs(codes, positions, SIDE)
    everywhere = torch.ones(B, SIDE**2, dtype=torch.bool)
    found = bits_by_region(model, shorter, everywhere)
    assert found["object_pair_share"] == 1.0 and math.isnan(found["bits_per_ground_pair"])
    total = float(image_bits(model, shorter).sum())
    assert found["bits_per_object_pair"] == pytest.approx(total / (B * N - 2), rel=1e-5)


def test_a_run_is_asked_where_its_bits_go(tmp_path: Path) -> None:
    folders = write_run(tmp_path, "classes")
    stage1 = load_stage1(folders[0])
    model, config = load_stage2(folders[1], stage1), stage1.config
    found = object_and_ground_bits(model, stage1, build_splits(config.data), config)
    correlation = found.pop("bits_complexity")
    assert set(found) == {"bits_per_object_pair", "bits_per_ground_pair", "object_pair_share"}
    assert all(value > 0.0 for value in found.values())
    assert -1.0 <= correlation <= 1.0
