"""Bits image by image add up to the loss, codes and positions apart; gaps and curves are in the same unit."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import t
from tiny_runs import tiny_transformer

from mvqlab.evaluation.likelihood.bits import (
    BITS,
    bits_by_image,
    generalisation_gap,
    image_bits,
    pair_bits,
)
from mvqlab.evaluation.run_report import stage2_columns
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs
from mvqlab.models.transformers import build_stage2
from mvqlab.results.columns import COLUMNS, is_never_negative
from mvqlab.sampling import Samples
from mvqlab.training import TokenSet

K, SIDE, N, B = 13, 4, 5, 7


def model_of(kind: str) -> PairModel:
    torch.manual_seed(0)
    config = tiny_transformer(
        model="raster" if kind == "raster" else "stackformer",
        match_parameters=False,
        condition="class" if kind == "classes" else "none",
        first="position" if kind == "position_first" else "code",
    )
    n = SIDE**2 if kind == "raster" else N
    model = build_stage2(config, codebook_size=K, side=SIDE, n_pairs=n, n_classes=3).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return model


def tokens_of(model: PairModel, n_images: int = B) -> TokenSet:
    n = model.n_pairs
    positions = torch.stack([torch.randperm(SIDE**2)[:n].sort().values for _ in range(n_images)])
    return TokenSet(Pairs(torch.randint(K, (n_images, n)), positions, SIDE), torch.arange(n_images) % 3)


@pytest.mark.parametrize("kind", ["stackformer", "position_first", "raster", "classes"])
def test_their_means_are_the_losses_in_bits_whatever_the_batches(kind: str) -> None:
    model = model_of(kind)
    tokens = tokens_of(model)
    pairs, classes = tokens.pairs, tokens.conditions if kind == "classes" else None
    bits = pair_bits(model, pairs, classes, batch_size=3)
    assert bits.codes.shape == bits.positions.shape == (B,)
    with torch.no_grad():
        loss = model.loss(pairs, classes)
    in_bits = model.n_pairs / math.log(2)
    assert float(bits.codes.mean()) == pytest.approx(float(loss.codes) * in_bits, rel=1e-5)
    if kind == "raster":
        assert not bits.positions.any()
    else:
        assert float(bits.positions.mean()) == pytest.approx(float(loss.positions) * in_bits, rel=1e-5)
    torch.testing.assert_close(image_bits(model, pairs, classes), bits.codes + bits.positions)
    one = image_bits(model, pairs[4:5], None if classes is None else classes[4:5])
    torch.testing.assert_close(one, (bits.codes + bits.positions)[4:5], rtol=1e-5, atol=1e-4)


def test_a_model_that_knows_nothing_pays_the_logarithm_of_its_choices() -> None:
    config = tiny_transformer()
    model = build_stage2(config, codebook_size=K, side=SIDE, n_pairs=N).eval()
    for parameter in model.parameters():
        parameter.data.zero_()
    pairs = Pairs(torch.zeros(2, N).long(), torch.arange(N).expand(2, N), SIDE)
    expected = N * (math.log2(K + 1) + math.log2(SIDE**2 + 1))
    torch.testing.assert_close(image_bits(model, pairs), torch.full((2,), expected))


def test_the_table_has_each_image_under_its_own_models_tokens_and_tells_classes() -> None:
    models = {kind: model_of(kind) for kind in ("classes", "raster")}
    tokens = {
        name: {"held-out": tokens_of(model), "few": tokens_of(model, 2)} for name, model in models.items()
    }
    table = bits_by_image(models, tokens, batch_size=4)
    assert table.groupby(["model", "set"], sort=False).size().tolist() == [B, 2, B, 2]
    assert table.groupby("model")["n_pairs"].first().to_dict() == {"classes": N, "raster": SIDE**2}
    some = tokens["classes"]["held-out"]
    expected = image_bits(models["classes"], some.pairs, some.conditions)
    rows = table.query("model == 'classes' and set == 'held-out'")
    assert rows["bits_per_image"].tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    assert (rows[BITS[0]] + rows[BITS[1]]).tolist() == pytest.approx(rows[BITS[2]].tolist())
    narrow = Pairs(some.pairs.codes.to(torch.int16), some.pairs.positions.to(torch.int16), SIDE)  # as cached
    again = bits_by_image({"a": models["classes"]}, {"a": {"x": TokenSet(narrow, some.conditions)}})
    assert again["bits_per_image"].tolist() == pytest.approx(expected.tolist(), rel=1e-5)


def test_the_gap_has_welchs_interval_and_none_where_positions_are_given() -> None:
    held, seen = np.array([9.0, 12.0, 15.0]), np.array([4.0, 6.0, 5.0, 7.0])
    sets = ["held-out"] * 3 + ["training"] * 4
    columns = {"code_bits_per_image": [*held, *seen], "position_bits_per_image": 0.0}
    table = pd.DataFrame({"model": "m", "set": sets, **columns})
    table["bits_per_image"] = table["code_bits_per_image"]
    codes, positions, both = generalisation_gap(table).to_dict("records")
    parts = held.var(ddof=1) / 3, seen.var(ddof=1) / 4
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 3)
    half = t.ppf(0.975, freedom) * math.sqrt(sum(parts))
    assert (codes["mean"], codes["low"], codes["high"]) == pytest.approx((6.5, 6.5 - half, 6.5 + half))
    assert codes["is_clear"] == (half < 6.5) and both["mean"] == 6.5
    assert positions == {
        "model": "m", "metric": "position_bits_per_image", "mean": 0.0, "low": 0.0, "high": 0.0,
        "is_clear": False,
    }  # fmt: skip


CURVES = pd.DataFrame(
    {
        "step": [1, 2, 2, 3, 4, 4],
        "split": ["train", "train", "validation"] * 2,
        "code_loss": [4.0, 3.0, 3.5, 2.0, 1.0, 3.0],
        "position_loss": [2.0, 1.0, 1.5, 0.5, 0.5, 1.0],
        "seconds": 1.0,
    }
)


def test_the_training_loss_of_a_row_is_no_single_batch() -> None:
    pairs = Pairs(torch.zeros(2, N).long(), torch.arange(N).expand(2, N), SIDE)
    samples = Samples(torch.zeros(2, 3, 4, 4), pairs, 1.0)
    seen = CURVES.assign(seen_code_loss=[None, None, 3.25, None, None, 2.25], seen_position_loss=1.0)
    assert stage2_columns(seen, samples)["train_code_loss"] == 2.25  # the last row of it
    assert stage2_columns(CURVES, samples)["train_code_loss"] == pytest.approx(2.5)  # of 4, 3, 2 and 1


@pytest.mark.parametrize("kind", ["stackformer", "raster"])
def test_the_gap_is_held_out_minus_training_positions_counted_and_may_be_negative(kind: str) -> None:
    pairs = Pairs(torch.zeros(2, N).long(), torch.arange(N).expand(2, N), SIDE)
    samples = Samples(torch.zeros(2, 3, 4, 4), pairs, 1.0)
    seen = {
        "seen_code_loss": [None, None, 3.25, None, None, 2.25],
        "seen_position_loss": [None, None, 9, None, None, 1.5],
    }
    curves = CURVES.assign(**seen)
    if kind == "raster":
        curves = curves.drop(columns=["position_loss", "seen_position_loss"])
    row = stage2_columns(curves, samples)
    assert row["code_loss_gap"] == 0.75  # 3 and 2.25, in the last row of both
    assert row["bits_per_image_gap"] == pytest.approx((0.75 - 0.5 * (kind != "raster")) * N / math.log(2))
    assert row["bits_per_image_relative_gap"] == pytest.approx(
        row["bits_per_image_gap"] / row["bits_per_image"]
    )
    assert not {"code_loss_gap", "bits_per_image_gap"} & set(stage2_columns(CURVES, samples))
    assert not is_never_negative("code_loss_gap") and is_never_negative("code_loss")
    assert {"code_loss_gap", "bits_per_image_gap", "best_code_loss", "best_bits_per_image_step"} <= set(
        COLUMNS
    )


def test_the_best_loss_along_a_run_is_told_with_its_step() -> None:
    pairs = Pairs(torch.zeros(2, N).long(), torch.arange(N).expand(2, N), SIDE)
    samples = Samples(torch.zeros(2, 3, 4, 4), pairs, 1.0)
    risen = CURVES.assign(
        code_loss=[4.0, 3.0, 2.5, 2.0, 1.0, 3.0]
    )  # training rows are lower, and do not count
    row = stage2_columns(risen, samples)
    assert (row["best_code_loss"], row["best_code_loss_step"], row["code_loss"]) == (2.5, 2, 3.0)
    # positions still fall, from 1.5 to 0.75, by more than codes rise
    row = stage2_columns(risen.assign(position_loss=[2.0, 1.0, 1.5, 0.5, 0.5, 0.75]), samples)
    assert (row["best_code_loss_step"], row["best_bits_per_image_step"]) == (2, 4)
    assert row["best_bits_per_image"] == pytest.approx(3.75 * N / math.log(2)) == row["bits_per_image"]
    assert not [name for name in stage2_columns(risen.tail(3), samples) if name.startswith("best_")]


@pytest.mark.parametrize("kind", ["stackformer", "raster"])
def test_a_grids_row_has_the_two_parts_of_its_bits(kind: str) -> None:
    curves = CURVES if kind == "stackformer" else CURVES.drop(columns="position_loss")
    pairs = Pairs(torch.zeros(2, N).long(), torch.arange(N).expand(2, N), SIDE)
    row = stage2_columns(curves, Samples(torch.zeros(2, 3, 4, 4), pairs, 1.0))
    assert row["code_bits_per_image"] == pytest.approx(3.0 * N / math.log(2))
    positions = 1.0 if kind == "stackformer" else 0.0
    assert row["position_bits_per_image"] == pytest.approx(positions * N / math.log(2))
    assert row["bits_per_image"] == row["code_bits_per_image"] + row["position_bits_per_image"]
