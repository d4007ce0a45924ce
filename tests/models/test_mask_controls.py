"""The controls of a claim: masks and models that differ from the paper's in one thing each."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny_runs import tiny

from mvqlab.config import BackboneConfig, ConfigError, MaskConfig, load_config
from mvqlab.models.demasking import DemaskModule, NoDemask
from mvqlab.models.mask_context import MaskContext
from mvqlab.models.mask_controls import ProductMask
from mvqlab.models.masking import AdaptiveMask, MaskModule
from mvqlab.models.masks import build_mask
from mvqlab.models.mqvae import MQVAE, PlainVQ, build_stage1
from mvqlab.models.scorers import MLPScorer

B, D, SIDE, CODE_DIM = 3, 6, 4, 5
BACKBONE = BackboneConfig(feature_dim=D)


def mask_of(**settings: object) -> MaskModule:
    torch.manual_seed(0)
    return build_mask(MaskConfig(**settings), BACKBONE, CODE_DIM, SIDE**2)


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(B, D, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def test_a_straight_through_product_changes_the_gradient_and_not_the_features(features: torch.Tensor) -> None:
    found = {}
    for product in ("none", "straight_through", "score"):
        mask = mask_of(product=product)
        kept = mask(features)
        loss = kept.features.sum()
        gradient = torch.autograd.grad(loss, mask.scorer[2].weight, allow_unused=True)[0]
        found[product] = kept, gradient
    assert torch.equal(found["none"][0].features, found["straight_through"][0].features)
    assert found["none"][1] is None
    # d loss / d score is the sum of a region's features, whether or not the score shrinks them
    torch.testing.assert_close(found["straight_through"][1], found["score"][1])
    assert found["score"][0].features.abs().sum() < found["none"][0].features.abs().sum()


def test_upside_down_keeps_what_the_papers_mask_drops(features: torch.Tensor) -> None:
    ours, turned = mask_of(), mask_of(kind="upside_down")
    assert torch.equal(turned(features).is_kept, ~ours(features).is_kept)
    assert torch.equal(turned(features).scores, ours(features).scores)
    assert ours.state_dict().keys() == turned.state_dict().keys()


def test_a_random_mask_with_the_product_learns_gains_that_choose_nothing(features: torch.Tensor) -> None:
    bare, weighed = mask_of(kind="random"), mask_of(kind="random", product="score")
    assert isinstance(weighed, ProductMask) and not isinstance(bare, AdaptiveMask)
    weighed.project.load_state_dict(bare.project.state_dict())
    expected, kept = (
        mask(features, MaskContext(generator=torch.Generator().manual_seed(3))) for mask in (bare, weighed)
    )
    assert torch.equal(expected.positions, kept.positions) and torch.equal(expected.scores, kept.scores)
    gains = weighed.gain(features).gather(1, kept.positions)
    torch.testing.assert_close(kept.features, expected.features * gains.unsqueeze(-1))
    kept.features.square().sum().backward()
    assert weighed.gain[0].weight.grad.any()


def test_without_the_norm_features_come_as_they_are(features: torch.Tensor) -> None:
    mask = mask_of(kind="random", mask_ratio=0.0, norm=False)
    torch.testing.assert_close(mask(features).features, mask.project(features.flatten(2).mT))
    assert not torch.allclose(
        mask(features).features, mask_of(kind="random", mask_ratio=0.0)(features).features
    )


def test_exploring_keeps_others_in_training_alone_and_the_best_most_often(features: torch.Tensor) -> None:
    mask = mask_of(mask_ratio=0.75, exploration=1.0)
    kept = torch.stack([mask(features).is_kept for _ in range(300)]).float().mean(0)  # (B, L)
    assert kept.min() > 0 and kept.max() < 1
    scores = mask(features).scores
    assert torch.corrcoef(torch.stack([scores.flatten(), kept.flatten()]))[0, 1] > 0.8
    mask.eval()
    assert torch.equal(mask(features).is_kept, mask_of(mask_ratio=0.75).eval()(features).is_kept)


def test_gumbel_noise_draws_in_proportion_to_the_odds() -> None:
    """One region kept, noise of 1: drawn as often as softmax of the logits has it, which is known."""
    mask = AdaptiveMask(D, CODE_DIM, 1, MLPScorer(D), settings=MaskConfig(exploration=1.0))
    scores = torch.tensor([[0.5, 0.8, 0.2, 0.6]]).expand(20_000, -1)
    torch.manual_seed(0)
    drawn = F.one_hot(mask.positions_to_keep(scores).squeeze(1), 4).float().mean(0)
    odds = scores[0] / (1 - scores[0])
    torch.testing.assert_close(drawn, odds / odds.sum(), atol=0.015, rtol=0)


def test_a_ratio_that_rises_begins_with_everything(features: torch.Tensor) -> None:
    mask = mask_of(mask_ratio=0.75)
    n = {}
    for ramp in (0.0, 0.5, 1.0):
        mask.ramp = ramp
        n[ramp] = mask(features).positions.shape[1]
    assert n == {0.0: 16, 0.5: 10, 1.0: 4}
    mask.ramp = 0.0
    assert mask.eval()(features).positions.shape[1] == 4


def test_with_neither_norm_nor_product_nor_demasker_it_is_the_plain_model_without_a_bias() -> None:
    off = ["mask.product=none", "mask.norm=false", "demask.kind=none", "mask.mask_ratio=0"]
    torch.manual_seed(0)
    bare = build_stage1(tiny(*off)).eval()
    plain = build_stage1(tiny("mask.kind=none", "mask.mask_ratio=0")).eval()
    assert isinstance(bare, MQVAE) and isinstance(plain, PlainVQ) and isinstance(bare.demask, NoDemask)
    for name in ("encoder", "decoder", "quantizer"):
        getattr(plain, name).load_state_dict(getattr(bare, name).state_dict())
    with torch.no_grad():
        plain.project_in.weight.copy_(bare.mask.project.weight)
        plain.project_in.bias.zero_()
        plain.project_out.weight.copy_(bare.demask.project.weight.flatten(1))
        plain.project_out.bias.copy_(bare.demask.project.bias)
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(bare(images).images, plain(images).images)


def test_the_papers_model_has_its_demasker() -> None:
    config = tiny()
    assert isinstance(build_stage1(config).demask, DemaskModule)
    without = build_stage1(tiny("demask.kind=none")).eval()
    assert without(torch.zeros(1, 3, 16, 16)).images.shape == (1, 3, 16, 16)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (["mask.kind=random", "mask.exploration=1"], "mask.exploration"),
        (["mask.kind=random", "mask.scorer_rate=2"], "mask.scorer_rate"),
        (["mask.exploration_steps=9"], "mask.exploration_steps"),
        (["mask.kind=none", "mask.mask_ratio=0", "mask.norm=false"], "mask.norm"),
        (["mask.kind=background", "data.name=photos"], "background"),
    ],
)
def test_a_setting_that_would_change_nothing_is_refused(settings: list[str], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        load_config("shapes32", settings)
