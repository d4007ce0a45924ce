"""Measures of a dual-grain model: other choices are of blocks, and what would mislead is left out."""

from __future__ import annotations

import itertools
import math

import pandas as pd
import pytest
import torch
from tiny_runs import tiny, tiny_stage1
from torch import Tensor

from mvqlab.data import Batch
from mvqlab.evaluation.images.choice import at_random, by_kind, by_score, choosing, upside_down
from mvqlab.evaluation.images.greedy import greedy_positions
from mvqlab.evaluation.images.masked_image import EncodedImage
from mvqlab.evaluation.images.rate import block_bits, with_rates
from mvqlab.evaluation.images.reconstruction import collect
from mvqlab.evaluation.images.rivals import choice_columns, choices_in_decibels
from mvqlab.evaluation.run_report import evaluate_held_out
from mvqlab.gallery.rates import ratios_of
from mvqlab.interop.onnx_export import ExportError, export_graphs
from mvqlab.models.mask_context import MaskContext
from mvqlab.models.mqvae import MQVAE

DUAL = ("mask.kind=dual_grain", "mask.mask_ratio=0.5", "evaluation.lpips=none")
CORNERS = [0, 2, 8, 10]  # of a 4 x 4 grid: the upper left regions of its blocks


@pytest.fixture
def model() -> MQVAE:
    return tiny_stage1(*DUAL)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2.0 - 1.0


@pytest.fixture
def batch(images: Tensor) -> Batch:
    importance = torch.zeros(3, 16, 16, dtype=torch.bool)
    importance[:, 8:, :8] = True  # the lower left block
    return Batch(images, torch.zeros(3, dtype=torch.long), [""] * 3, importance)


@torch.no_grad()
def test_another_choice_is_of_blocks(model: MQVAE, images: Tensor, batch: Batch) -> None:
    own = model.encode(images)
    with choosing(model, model.n_kept, by_score):
        assert torch.equal(model.encode(images).positions, own.positions)
        assert torch.equal(model.encode(images).codes, own.codes)
    with choosing(model, 7, upside_down):
        turned = model.encode(images)
    block_scores = own.scores[:, CORNERS]
    for row, lowest in enumerate(block_scores.argmin(dim=1).tolist()):
        corner = CORNERS[lowest]
        assert turned.positions[row].tolist() == sorted({*CORNERS, corner + 1, corner + 4, corner + 5})
    with choosing(model, 7, by_kind("truth")):
        found = model.encode(images, batch.importance)
    assert found.positions.tolist() == [[0, 2, 8, 9, 10, 12, 13]] * 3
    with choosing(model, 7, at_random):
        drawn = {
            tuple(
                model.select(images, MaskContext(generator=torch.Generator().manual_seed(s)))
                .positions[0]
                .tolist()
            )
            for s in range(20)
        }
    assert len(drawn) == 4 and all(set(CORNERS) <= set(positions) for positions in drawn)


def test_another_number_is_the_nearest_that_blocks_make(model: MQVAE, images: Tensor) -> None:
    for n, nearest in ((4, 4), (5, 4), (6, 7), (9, 10), (15, 16), (16, 16)):
        with choosing(model, n):
            assert model.n_kept == model.encode(images).pairs.n_pairs == nearest
    for n in (1, 2):
        with pytest.raises(ValueError, match="from 4 to 16 pairs"), choosing(model, n):
            pass
    assert model.n_kept == 7


def test_other_choices_are_judged_but_for_the_greedy_one(model: MQVAE, batch: Batch) -> None:
    table = choices_in_decibels(model, [batch], oracle_images=2)
    assert {"adaptive", "random", "truth"} <= set(table.index) and "greedy" not in table.index
    assert "psnr_by_random" in choice_columns(table) and "regret_of_adaptive" not in choice_columns(table)


def test_what_takes_single_regions_is_refused_in_words(
    model: MQVAE, images: Tensor, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="dual_grain"):
        greedy_positions(model, images, 7)
    with pytest.raises(ValueError, match=r"mask\.kind=adaptive"):
        EncodedImage(model, images[0])
    monkeypatch.setattr("mvqlab.interop.onnx_export.require_exporter", lambda: None)
    with pytest.raises(ExportError, match="dual_grain"):
        export_graphs(model, tmp_path)


def test_a_row_says_nothing_of_dropped_regions(model: MQVAE, batch: Batch) -> None:
    row = evaluate_held_out(collect(model, [batch]), model, model.config)
    assert {"psnr", "score_auc", "importance_images", "n_pairs"} <= row.keys() and row["n_pairs"] == 7
    assert not [name for name in row if name.startswith(("psnr_at_distance", "kept_iou"))]
    other = tiny_stage1("evaluation.lpips=none")
    assert {"psnr_at_distance_1", "kept_iou"} <= evaluate_held_out(
        collect(other, [batch]), other, other.config
    ).keys()


def test_places_cost_a_choice_of_blocks() -> None:
    for fine in range(5):
        subsets = list(itertools.combinations(range(4), fine))
        assert block_bits(16, 4 + 3 * fine) == pytest.approx(math.log2(len(subsets)))
    for n, n_positions in ((5, 16), (3, 16), (19, 16), (3, 9)):
        with pytest.raises(ValueError, match=r"pairs|places"):
            block_bits(n_positions, n)
    table = pd.DataFrame(
        {"mask": ["dual_grain", "adaptive"], "n_pairs": 7, "codebook_perplexity": 2.0, "position_loss": 0.0}
    )
    assert with_rates(table, 16)["position_bits"].tolist() == pytest.approx(
        [2.0, math.log2(math.comb(16, 7))]
    )


def test_ratios_that_blocks_can_have() -> None:
    ranged = tiny_stage1("mask.kind=dual_grain", "mask.mask_ratio=[0.0,0.75]")
    assert max(ratios_of(ranged)) == 0.75
    assert ratios_of(tiny_stage1(*DUAL)) == (0.5,) and tiny(*DUAL).mask.ratio_in_use == 0.5
