"""The adaptive mask module against a plain selection written out here."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mvqlab.config import LEARNED_KINDS, MASK_KINDS, BackboneConfig, MaskConfig, load_config
from mvqlab.models.mask_context import NO_CONTEXT, MaskContext
from mvqlab.models.masking import AdaptiveMask, MaskModule, keep_best, n_kept
from mvqlab.models.masks import LEARNED_MASKS, build_mask
from mvqlab.models.mqvae import build_stage1
from mvqlab.models.scorers import (
    UNLEARNED_SCORERS,
    ConvScorer,
    MLPScorer,
    RandomScorer,
    TruthScorer,
    region_coverage,
)

B, D, H, W, CODE_DIM = 2, 5, 3, 7, 11
L = H * W


def plain_selection(features: Tensor, scores: Tensor, weight: Tensor, n: int) -> Tensor:
    """Image by image, region by region: rank, normalise, project, multiply."""
    rows = []
    for image, image_scores in zip(features, scores.detach(), strict=True):
        ranked = sorted(range(L), key=lambda place: -image_scores[place].item())
        for place in sorted(ranked[:n]):
            region = image[:, place // W, place % W]
            region = (region - region.mean()) / (region.var(unbiased=False) + 1e-5).sqrt()
            rows.append((weight @ region) * image_scores[place])
    return torch.stack(rows).view(len(features), n, -1)


@pytest.mark.parametrize("scorer", ["mlp", "conv", "conv without norm"])
def test_adaptive_mask_equals_plain_selection(scorer: str) -> None:
    torch.manual_seed(0)  # before the scorer is built: unlucky weights score several regions alike
    built = MLPScorer(D) if scorer == "mlp" else ConvScorer(D, norm=scorer == "conv")
    mask = AdaptiveMask(D, CODE_DIM, 8, built).eval()
    features = torch.randn(B, D, H, W)
    kept = mask(features)
    assert kept.scores.shape == (B, L) and ((kept.scores > 0) & (kept.scores < 1)).all()
    expected = plain_selection(features, kept.scores, mask.project.weight, 8)
    torch.testing.assert_close(kept.features, expected)


@given(
    n_places=st.integers(1, 400),
    kept_share=st.integers(1, 100),
)
def test_n_kept_is_the_exact_share_rounded(n_places: int, kept_share: int) -> None:
    """Guards against int(L * (1 - r)), which keeps 9 of 100 at ratio 0.9."""
    n = n_kept(1 - kept_share / 100, n_places)
    assert 1 <= n <= n_places
    assert abs(n * 100 - kept_share * n_places) <= 50 or n == 1


def test_n_kept_known_values() -> None:
    assert n_kept(0.9, 100) == 10
    assert n_kept(0.0, 64) == 64
    assert n_kept(0.75, 1024) == 256
    assert n_kept(0.999, 4) == 1


@given(n=st.integers(1, L), seed=st.integers(0, 1000))
def test_kept_positions_rise_and_are_the_best(n: int, seed: int) -> None:
    scores = torch.rand(B, L, generator=torch.Generator().manual_seed(seed))
    positions, is_kept = keep_best(scores, n)
    assert positions.shape == (B, n)
    assert (positions.diff(dim=1) > 0).all()
    assert (is_kept.sum(1) == n).all()
    for row in range(B):
        worst_kept = scores[row][is_kept[row]].min()
        assert (scores[row][~is_kept[row]] <= worst_kept).all()


def test_the_score_product_is_what_trains_the_scorer() -> None:
    """Without the multiplication the scorer gets no gradient at all."""
    mask = AdaptiveMask(D, CODE_DIM, 8, MLPScorer(D))
    features = torch.randn(B, D, H, W)
    mask(features).features.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in mask.scorer.parameters())

    mask.zero_grad()
    mask.weigh = lambda kept, scores: kept
    mask(features).features.square().sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in mask.scorer.parameters())


def test_a_range_draws_its_number_in_training_only() -> None:
    """Every number between the fewest and the most comes up, one a batch; outside training it is fixed."""
    config = MaskConfig(mask_ratio=[0.25, 0.75], evaluation_ratio=0.5)
    mask = build_mask(config, BackboneConfig(feature_dim=D), CODE_DIM, 16)
    features = torch.randn(B, D, 4, 4)
    drawn = {mask(features).positions.shape[1] for _ in range(200)}
    assert drawn == set(range(4, 13))
    mask.eval()
    assert {mask(features).positions.shape[1] for _ in range(10)} == {8}


def test_a_fixed_ratio_draws_nothing() -> None:
    """Or every seed's training would change with it."""
    mask = build_mask(MaskConfig(mask_ratio=0.5), BackboneConfig(feature_dim=D), CODE_DIM, 16)
    before = torch.get_rng_state()
    mask(torch.randn(B, D, 4, 4, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(before, torch.get_rng_state())


def test_an_evaluation_ratio_holds_outside_training_alone() -> None:
    mask = build_mask(
        MaskConfig(mask_ratio=0.5, evaluation_ratio=0.75), BackboneConfig(feature_dim=D), CODE_DIM, 16
    )
    features = torch.randn(B, D, 4, 4)
    assert mask(features).positions.shape[1] == 8
    assert mask.eval()(features).positions.shape[1] == 4


def test_regions_chosen_by_hand_are_weighed_by_their_own_scores() -> None:
    mask = AdaptiveMask(D, CODE_DIM, L, MLPScorer(D)).eval()
    features = torch.randn(B, D, H, W)
    everything = mask(features)
    positions = torch.tensor([[1, 4, 5]]).expand(B, -1)
    kept = mask.keep(features, everything.scores, positions)
    torch.testing.assert_close(kept.features, everything.features[:, [1, 4, 5]])
    assert kept.is_kept.nonzero()[:, 1].tolist() == [1, 4, 5] * B


def test_conv_scorer_norm_ties_the_ranking_to_the_gain() -> None:
    """The released scorer's weak point: a negative batch-norm gain turns the ranking upside down."""
    scorer = ConvScorer(D).eval()
    features = torch.randn(B, D, H, W)
    before = scorer(features)
    with torch.no_grad():
        scorer.batch_norm.weight.neg_()
    assert torch.equal(before.argsort(1), scorer(features).argsort(1, descending=True))


def test_random_mask_is_uniform_seeded_and_unweighted() -> None:
    mask = MaskModule(D, CODE_DIM, 4, RandomScorer())
    features = torch.randn(1, D, H, W).expand(3000, -1, -1, -1)
    kept = mask(features, MaskContext(generator=torch.Generator().manual_seed(1)))
    again = mask(features, MaskContext(generator=torch.Generator().manual_seed(1)))
    assert torch.equal(kept.positions, again.positions)
    share = kept.is_kept.float().mean(0)
    assert (share - 4 / L).abs().max() < 5 * (4 / L * (1 - 4 / L) / 3000) ** 0.5
    projected = mask.project(torch.nn.functional.layer_norm(features[0].flatten(1).T, (D,)))
    torch.testing.assert_close(kept.features[0], projected[kept.positions[0]])


def test_true_mask_keeps_the_object() -> None:
    importance = torch.zeros(1, 6, 6, dtype=torch.bool)
    importance[0, 2:4, 0:6] = True
    mask = MaskModule(D, CODE_DIM, 3, TruthScorer())
    kept = mask(torch.randn(1, D, 3, 3), MaskContext(importance=importance))
    assert kept.positions.tolist() == [[3, 4, 5]]
    with pytest.raises(ValueError, match="importance"):
        mask(torch.randn(1, D, 3, 3))


def test_region_coverage_counts_pixels() -> None:
    importance = torch.zeros(1, 4, 4, dtype=torch.bool)
    importance[0, 0, :3] = True
    assert region_coverage(importance, 2).tolist() == [[0.5, 0.25, 0.0, 0.0]]


def test_one_word_swaps_the_mask() -> None:
    backbone = BackboneConfig(feature_dim=D)
    kinds = {
        kind: build_mask(MaskConfig(kind=kind), backbone, CODE_DIM, L) for kind in ("adaptive", "random")
    }
    features = torch.randn(B, D, H, W)
    assert kinds["adaptive"](features).features.shape == kinds["random"](features).features.shape
    with pytest.raises(ValueError, match="plain VQ"):
        build_mask(MaskConfig(kind="none", mask_ratio=0.0), backbone, CODE_DIM, L)


def test_every_kind_of_mask_has_a_scorer() -> None:
    assert {"none", "dual_grain", *LEARNED_MASKS, *UNLEARNED_SCORERS} == set(MASK_KINDS)
    assert set(LEARNED_MASKS) == set(LEARNED_KINDS)


class DarkestFirst(torch.nn.Module):
    """A scorer that looks at the image alone: how dark a region is."""

    def forward(self, features: Tensor, context: MaskContext = NO_CONTEXT) -> Tensor:
        darkness = -context.images.mean(dim=1, keepdim=True)
        return torch.nn.functional.adaptive_avg_pool2d(darkness, features.shape[-2:]).flatten(1)


def test_a_scorer_that_looks_at_the_image_is_one_class_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets the images through the whole model, and nothing else has to know of it."""
    monkeypatch.setitem(UNLEARNED_SCORERS, "darkest", DarkestFirst)
    config = load_config("shapes32", ["mask.mask_ratio=0.75"])
    config = config.model_copy(update={"mask": config.mask.model_copy(update={"kind": "darkest"})})
    model = build_stage1(config).eval()
    images = torch.ones(B, 3, 32, 32)
    images[:, :, 16:, 16:] = -1.0  # one quarter, of 4 x 4 regions
    assert model.encode(images).is_kept.view(B, 8, 8).nonzero().amin(dim=0).tolist() == [0, 4, 4]
    assert torch.equal(model(images).is_kept, model.encode(images).is_kept)
