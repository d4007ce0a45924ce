"""The grid of rivals: what it calls equal is equal, and what its verdicts compare is there."""

from __future__ import annotations

import math
from collections import defaultdict

import pytest
import torch
from tiny_runs import tiny_stage1

from mvqlab.config import config_from_dict
from mvqlab.evaluation.images.rate import fixed_length_bits
from mvqlab.evaluation.operations import stage2_operations
from mvqlab.grid.points import Point, build_points
from mvqlab.grid.spec import read_grid
from mvqlab.models.mqvae import build_stage1
from mvqlab.results.protocol import read_protocol
from mvqlab.support.lab import LAB
from mvqlab.training import build_transformer

GRID = LAB / "ablations" / "rivals.yaml"
PROTOCOL = LAB / "ablations" / "protocol" / "rivals.yaml"


@pytest.fixture(scope="module")
def points() -> list[Point]:
    """One of each arm."""
    return [point for point in build_points(read_grid(GRID)) if point.settings["seed"] == 0]


def test_arms_of_a_data_set_have_as_many_bits(points: list[Point]) -> None:
    bits: dict[str, dict[str, float]] = defaultdict(dict)
    for point in points:
        model = build_stage1(config_from_dict(point.config))
        n_kept = torch.tensor([model.n_kept])
        bits[point.config["preset"]][point.variant] = fixed_length_bits(model, n_kept)
    assert set(bits) == {"simple32", "fashion32", "emoji64"}
    for of_data in bits.values():
        anchor = next(value for arm, value in of_data.items() if arm.endswith(": MQ-VAE"))
        off = {arm: value / anchor - 1 for arm, value in of_data.items() if abs(value / anchor - 1) > 0.02}
        assert not off


def test_what_is_compared_is_there(points: list[Point]) -> None:
    arms = {point.variant for point in points}
    for hypothesis in read_protocol(PROTOCOL):
        assert {hypothesis.first, hypothesis.second} <= arms
        assert hypothesis.first.split(":")[0] == hypothesis.second.split(":")[0]  # of one data set


def test_bits_are_counted_by_hand() -> None:
    """16 places: 8 of 16 codes; blocks of four places, one of four fine; images with budgets of their own."""
    assert fixed_length_bits(tiny_stage1(), torch.tensor([8])) == pytest.approx(
        8 * 4 + math.log2(math.comb(16, 8))
    )
    grains = tiny_stage1("mask.kind=dual_grain", "mask.mask_ratio=0.5625")
    assert grains.n_kept == 7
    assert fixed_length_bits(grains, torch.tensor([7, 7])) == pytest.approx(7 * 4 + math.log2(4))
    budgets = tiny_stage1("mask.budget=threshold")
    of_each = [2 * 4 + math.log2(math.comb(16, 2)), 16 * 4 + 0.0]
    assert fixed_length_bits(budgets, torch.tensor([2, 16])) == pytest.approx(sum(of_each) / 2 + 4)


def test_stage_1_models_that_the_protocol_trains_are_not_trained_again() -> None:
    grids = [
        read_grid(LAB / "ablations" / f"protocol_{data}.yaml") for data in ("simple", "fashion", "emoji")
    ]
    rivals = read_grid(GRID)
    assert len({grid.stage1_store for grid in (*grids, rivals)}) == 1
    trained = {point.stage1 for grid in grids for point in build_points(grid)}
    needed = {point.stage1 for point in build_points(rivals)}
    assert (len(needed), len(needed & trained)) == (145, 55)  # as ablations/README.md says


@pytest.mark.parametrize(
    ("more_images", "rivals"),
    [
        ("simple: MQ-VAE, four times the images", ("simple: masked parallel", "simple: plain VQ, raster")),
        ("fashion: MQ-VAE, twice the images", ("fashion: masked parallel", "fashion: plain VQ, raster")),
    ],
)
def test_what_reads_every_place_has_a_stackformer_of_as_many_operations(
    points: list[Point], more_images: str, rivals: tuple[str, ...]
) -> None:
    operations = {}
    for point in points:
        if point.variant in (more_images, *rivals):
            config = config_from_dict(point.config)
            stage1 = build_stage1(config).eval()
            model = build_transformer(config, stage1, n_classes=10)
            images = torch.rand(2, 3, 32, 32) * 2 - 1
            of_an_image = stage2_operations(model, stage1.encode(images).pairs, torch.tensor([0, 1]))
            operations[point.variant] = config.stage2.batch_size * of_an_image
    for rival in rivals:
        assert operations[rival] == pytest.approx(operations[more_images], rel=0.1)
