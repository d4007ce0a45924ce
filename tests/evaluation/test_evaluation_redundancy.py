"""Codebooks side by side, on their principal plane, among their neighbours, and merged."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny_runs import tiny_stage1

from mvqlab.data import Batch
from mvqlab.evaluation import codebook_table, collect
from mvqlab.evaluation.codebook.merging import decode_with, merge_codes
from mvqlab.evaluation.codebook.neighbours import gaussian_twin, nearest_others, pairs_at
from mvqlab.evaluation.codebook.plane import principal_plane, singular_shares
from mvqlab.evaluation.codebook.usage import NEAR_SHARE, codebook_redundancy
from mvqlab.evaluation.run_report import codebook_columns
from mvqlab.models.mqvae import TokenModel

PLAIN = ["mask.kind=none", "mask.mask_ratio=0"]


def started(*changes: str) -> TokenModel:
    """A model whose codebook is that of a first batch: fresh codes are all near zero."""
    model = tiny_stage1("quantizer.codebook_size=11", *changes)  # not as many as there are regions
    model.initialise_codebook(torch.randn(6, 3, 16, 16))
    return model


def batch(n: int = 7) -> Batch:
    return Batch(torch.randn(n, 3, 16, 16), torch.zeros(n, dtype=torch.long), [""] * n)


def some_codes(n: int = 9, dim: int = 4) -> torch.Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(3)).double()


def test_the_table_has_a_row_a_model_that_agrees_with_the_columns_of_a_grid() -> None:
    models = {"plain": started(*PLAIN), "masked": started("mask.mask_ratio=0.25")}
    images = batch()
    held_out = {name: collect(model, [images]) for name, model in models.items()}
    table = codebook_table(models, held_out)
    assert table["label"].tolist() == ["plain", "masked"]
    assert table["n_pairs"].tolist() == [16, 12]
    assert table["codebook_n_features"].tolist() == [7 * 16, 7 * 12]
    for row, name in zip(table.to_dict(orient="records"), models, strict=True):
        columns = codebook_columns(held_out[name], models[name].codebook)
        assert {key: row[key] for key in columns} == pytest.approx(columns, nan_ok=True)


def test_a_table_over_unequal_images_is_refused() -> None:
    model = started()
    held_out = {"a": collect(model, [batch(3)]), "b": collect(model, [batch(4)])}
    with pytest.raises(ValueError, match="different numbers of images"):
        codebook_table({"a": model, "b": model}, held_out)
    with pytest.raises(ValueError, match="held-out images are there of"):
        codebook_table({"a": model}, held_out)


def test_the_plane_is_that_of_a_singular_value_decomposition() -> None:
    codes, features = some_codes(), some_codes(6)
    plane = principal_plane(codes, features)
    centred = codes - codes.mean(0)
    _, spectrum, directions = torch.linalg.svd(centred, full_matrices=False)
    # the sign of a component is free
    assert torch.allclose(plane.codes.abs(), (centred @ directions[:2].T).abs())
    assert torch.allclose(plane.features.abs(), ((features - codes.mean(0)) @ directions[:2].T).abs())
    assert torch.allclose(plane.explained, spectrum[:2].square() / spectrum.square().sum())


def test_codes_out_of_use_do_not_turn_the_plane() -> None:
    codes = torch.cat([some_codes(), torch.full((1, 4), 1e4).double()])
    counts = torch.tensor([2] * 9 + [0])
    plane = principal_plane(codes, codes, counts)
    assert torch.allclose(plane.codes[:9], principal_plane(codes[:9], codes[:9]).codes)
    assert plane.codes[9].norm() > 1e3  # it is projected, all the same
    with pytest.raises(ValueError, match="two codes in use"):
        principal_plane(codes, codes, torch.tensor([5] + [0] * 9))


def test_shares_have_the_entropy_of_the_effective_rank() -> None:
    codes, counts = some_codes(), torch.tensor([1, 4, 0, 2, 2, 0, 1, 1, 3])
    shares = singular_shares(codes, counts)
    assert float(shares.sum()) == pytest.approx(1.0) and (shares.diff() <= 0).all()
    rank = float(torch.special.entr(shares).sum().exp())
    assert rank == pytest.approx(codebook_redundancy(codes, counts).effective_rank)


def test_neighbours_by_hand() -> None:
    """A triangle of sides 5, 3 and 4, its mean side 4, and a code out of use on top of the first corner."""
    codes = torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 0.0], [0.0, 0.0]])
    near = nearest_others(codes, torch.tensor([1, 1, 1, 0]))
    assert near.index.tolist() == [2, 2, 0, -1]
    assert near.distance[:3].tolist() == pytest.approx([0.75, 1.0, 0.75])
    assert math.isnan(near.distance[3])
    with pytest.raises(ValueError, match="two codes in use"):
        nearest_others(codes, torch.tensor([1, 0, 0, 0]))


def test_neighbours_agree_with_the_redundancy_of_the_results_table() -> None:
    codes, counts = some_codes(40, 2), torch.arange(40) % 4
    near = nearest_others(codes, counts).distance
    redundancy = codebook_redundancy(codes, counts)
    assert float(near.nanmean()) == pytest.approx(redundancy.nearest_distance)
    share = float((near[~near.isnan()] < NEAR_SHARE).double().mean())
    assert 0.0 < share == pytest.approx(redundancy.near_duplicate_share)


def test_neighbours_of_a_collapsed_codebook_are_at_no_distance() -> None:
    assert nearest_others(torch.full((3, 2), 0.7)).distance.tolist() == [0.0] * 3


def test_the_nearest_pairs_come_first_and_no_code_comes_twice() -> None:
    codes = torch.tensor([[0.0], [1.0], [10.0], [10.5], [11.5], [100.0]])
    counts = torch.tensor([3, 3, 3, 3, 3, 1])
    pairs = pairs_at(codes, counts, 0.0, 4, least_count=2)
    assert [pair[:2] for pair in pairs] == [(2, 3), (0, 1)]  # 100 is too rare, 11.5 finds nobody left
    mean = np.mean([1, 10, 10.5, 11.5, 9, 9.5, 10.5, 0.5, 1.5, 1.0])
    assert [pair.distance for pair in pairs] == pytest.approx([0.5 / mean, 1.0 / mean])


def test_ordinary_pairs_are_at_the_quantile_asked_for() -> None:
    codes, counts = some_codes(30), torch.ones(30)
    every = torch.pdist(codes)
    (pair,) = pairs_at(codes, counts, 0.5, 1)
    distance = float((codes[pair.first] - codes[pair.second]).norm())
    assert distance == pytest.approx(float(every.quantile(0.5)), rel=0.01)
    assert pair.distance == pytest.approx(distance / float(every.mean()))


def test_a_twin_has_the_mean_and_covariance_of_its_codebook() -> None:
    codes = some_codes(4000, 3) @ torch.tensor([[3.0, 1, 0], [0, 1, 0], [0, 0, 0.1]]).double() + 5.0
    twin = gaussian_twin(codes, torch.Generator().manual_seed(1))
    assert twin.shape == codes.shape
    assert torch.allclose(twin.mean(0), codes.mean(0), atol=0.2)
    assert torch.allclose(twin.T.cov(), codes.T.cov(), atol=0.5)
    assert torch.equal(twin, gaussian_twin(codes, torch.Generator().manual_seed(1)))


def test_merged_codes_are_weighted_means_of_those_that_lie_together() -> None:
    codes = torch.tensor([[0.0, 0.0], [1.0, 0.0], [50.0, 0.0], [50.0, 2.0]])
    merged = merge_codes(codes, torch.tensor([1, 3, 0, 0]), 2)
    expected = torch.tensor([[0.75, 0.0], [0.75, 0.0], [50.0, 1.0], [50.0, 1.0]])
    assert torch.allclose(merged, expected, atol=1e-6) and merged.dtype == codes.dtype
    assert torch.allclose(merge_codes(codes, torch.ones(4), 4), codes)
    with pytest.raises(ValueError, match="cannot merge 4 codes into 5"):
        merge_codes(codes, torch.ones(4), 5)


@pytest.mark.parametrize("mask", [PLAIN, ["mask.mask_ratio=0.5"]])
def test_decoding_again_changes_images_only_by_their_codes(mask: list[str]) -> None:
    model = started(*mask)
    held_out = collect(model, [batch(5)])
    again = decode_with(model, held_out, model.codebook, batch_size=2)
    difference = (again.reconstructions.int() - held_out.reconstructions.int()).abs()
    assert difference.max() <= 1  # other batch sizes round otherwise
    assert torch.equal(again.images, held_out.images) and again.pairs is held_out.pairs

    one = decode_with(model, held_out, merge_codes(model.codebook, torch.ones(11), 1))
    assert (one.reconstructions.int() - held_out.reconstructions.int()).abs().max() > 1
    if model.n_kept == model.n_positions:  # the same code everywhere is the same image for all
        assert (one.reconstructions == one.reconstructions[:1]).all()
