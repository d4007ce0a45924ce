"""Dual grain (`mask.kind: dual_grain`): blocks of four pairs or one, by hand, and there and back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny_runs import tiny
from torch import Tensor

from mvqlab.config import BackboneConfig, Config, ConfigError, MaskConfig
from mvqlab.models.demasking import NoDemask
from mvqlab.models.dual_grain import CopyCoarse, DualGrainMask, n_fine, upper_left
from mvqlab.models.masks import build_mask
from mvqlab.models.mqvae import MQVAE, build_stage1
from mvqlab.models.pairs import Pairs
from mvqlab.sampling import sample_pairs
from mvqlab.sampling.completion import box, complete_pairs, part_of
from mvqlab.training import build_transformer, train_stage2
from mvqlab.training.on_device import psnr_of
from mvqlab.training.warm_up import set_mask

B, D, SIDE, CODE_DIM = 3, 6, 4, 5
L, BLOCKS = SIDE**2, SIDE**2 // 4


def mask_of(side: int = SIDE, **settings: object) -> DualGrainMask:
    torch.manual_seed(0)
    config = MaskConfig(kind="dual_grain", **settings)
    mask = build_mask(config, BackboneConfig(feature_dim=D), CODE_DIM, side**2)
    assert isinstance(mask, DualGrainMask)
    return mask


def settings(*changes: str) -> Config:
    return tiny("mask.kind=dual_grain", "mask.mask_ratio=0.5", *changes)


def model_of(*changes: str) -> MQVAE:
    torch.manual_seed(0)
    model = build_stage1(settings(*changes))
    assert isinstance(model, MQVAE)
    return model


def images(n: int = B, seed: int = 1) -> Tensor:
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2.0 - 1.0


@pytest.fixture
def features() -> Tensor:
    return torch.randn(B, D, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def places_of_blocks(side: int = SIDE) -> list[list[int]]:
    """Of each block, row by row, the places of its four regions, the upper left one first."""
    return [
        [(row + down) * side + column + right for down in (0, 1) for right in (0, 1)]
        for row in range(0, side, 2)
        for column in range(0, side, 2)
    ]


def fine_blocks(positions: list[int], side: int = SIDE) -> list[int]:
    """The blocks with four pairs. Fails where one has neither four nor its upper left one alone."""
    found = []
    for number, places in enumerate(places_of_blocks(side)):
        there = [place for place in places if place in positions]
        assert there in (places, places[:1])
        found += [number] if there == places else []
    return found


# ------------------------------------------------------------------------------------------------ the budget


@pytest.mark.parametrize("side", [2, 4, 6, 8])
def test_the_budget_is_the_nearest_that_whole_blocks_make(side: int) -> None:
    possible = [side**2 // 4 + 3 * fine for fine in range(side**2 // 4 + 1)]
    for percent in range(0, 76):
        asked = (1.0 - percent / 100) * side**2
        n = mask_of(side, mask_ratio=percent / 100).n
        assert n in possible
        assert abs(n - asked) == pytest.approx(min(abs(other - asked) for other in possible))


def test_known_budgets() -> None:
    assert [mask_of(8, mask_ratio=ratio).n for ratio in (0.0, 0.5, 0.6, 0.75)] == [64, 31, 25, 16]
    assert [n_fine(n, 64) for n in (16, 17, 18, 64)] == [0, 0, 1, 16]
    with pytest.raises(ValueError, match="from 16 to 64 pairs, not 14"):
        n_fine(14, 64)
    with pytest.raises(ValueError, match="3 x 3"):
        mask_of(3)


def test_a_range_draws_its_fine_blocks_alike_in_training_only(features: Tensor) -> None:
    mask = mask_of(mask_ratio=[0.0, 0.75], evaluation_ratio=0.6)
    torch.manual_seed(1)
    drawn = [mask.n_of_batch(L) for _ in range(400)]
    counts = [drawn.count(n) for n in (4, 7, 10, 13, 16)]
    assert sum(counts) == 400 and min(counts) > 50  # 80 of each, with a deviation of 8
    assert mask(features).positions.shape[1] in (4, 7, 10, 13, 16)
    mask.eval()
    assert {mask(features).positions.shape[1] for _ in range(5)} == {mask.n} == {7}


def test_the_ratio_rises_in_whole_blocks(features: Tensor) -> None:
    config = settings("mask.mask_ratio=0.75", "mask.ramp_steps=4")
    model = build_stage1(config)
    found = []
    for step in range(6):
        set_mask(model, step, config.mask)
        found.append(model(images()).pairs.n_pairs)
    assert found == [16, 13, 10, 7, 4, 4]


# -------------------------------------------------------------------------------------------- the mask module


def by_hand(mask: DualGrainMask, features: Tensor, fine: int) -> tuple[Tensor, Tensor, Tensor]:
    """Features (B, N, n_z), positions (B, N) and scores (B, L), block after block in plain loops."""
    all_features, all_positions, all_scores = [], [], []
    for image in features:
        regions = image.flatten(1).T  # (L, d)
        coarse, scores = [], []
        for places in places_of_blocks():
            reduced = mask.reduce.bias.clone()
            for place, weight in zip(places, mask.reduce.weight.flatten(2).unbind(2), strict=True):
                reduced = reduced + weight @ regions[place]
            both = torch.cat([regions[places].mean(dim=0), reduced])
            first, _, last = mask.scorer
            hidden = (first.weight @ both + first.bias).clamp(min=0)
            scores.append(torch.sigmoid(last.weight @ hidden + last.bias).item())
            coarse.append(reduced)
        best = sorted(range(BLOCKS), key=lambda block: -scores[block])[:fine]
        pairs = {}
        score_of = torch.empty(L)
        for block, places in enumerate(places_of_blocks()):
            score_of[places] = scores[block]
            if block in best:
                pairs |= {place: regions[place] for place in places}
            else:
                pairs[places[0]] = coarse[block]
        places = sorted(pairs)
        all_features.append(torch.stack([mask.project.weight @ normalised(pairs[place]) for place in places]))
        all_positions.append(torch.tensor(places))
        all_scores.append(score_of)
    return torch.stack(all_features), torch.stack(all_positions), torch.stack(all_scores)


def normalised(x: Tensor) -> Tensor:
    return (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()


@pytest.mark.parametrize("fine", range(BLOCKS + 1))
def test_what_is_kept_is_as_by_hand(features: Tensor, fine: int) -> None:
    mask = mask_of()
    mask.n = BLOCKS + 3 * fine
    kept = mask.eval()(features)
    expected, positions, scores = by_hand(mask, features, fine)
    torch.testing.assert_close(kept.features, expected)
    torch.testing.assert_close(kept.scores, scores)
    assert torch.equal(kept.positions, positions) and kept.is_padding is None
    for row, of_image in enumerate(positions.tolist()):
        assert len(fine_blocks(of_image)) == fine
        assert kept.is_kept[row].nonzero().flatten().tolist() == of_image


def test_without_norm_a_coarse_pair_is_its_coarse_feature_to_the_bit(features: Tensor) -> None:
    mask = mask_of(mask_ratio=0.75, norm=False)
    coarse = mask.reduce(features).flatten(2).transpose(1, 2)
    assert torch.equal(mask(features).features, mask.project(coarse))


def test_with_nothing_dropped_it_is_the_plain_product_free_mask(features: Tensor) -> None:
    mask = mask_of(mask_ratio=0.0)
    other = build_mask(MaskConfig(mask_ratio=0.0, product="none"), BackboneConfig(feature_dim=D), CODE_DIM, L)
    other.project.load_state_dict(mask.project.state_dict())
    assert torch.equal(mask(features).features, other(features).features)


def test_gradients_reach_router_and_reduction(features: Tensor) -> None:
    mask = mask_of(mask_ratio=0.6)
    mask(features).features.square().sum().backward()
    for name, parameter in mask.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("ratio", [0.0, 0.4, 0.75])
def test_a_gates_gradient_is_what_the_other_grain_would_change(features: Tensor, ratio: float) -> None:
    """(mean fine - coarse) times a coarse pair's gradient; the sum over four of (fine - coarse) times it."""
    mask = mask_of(mask_ratio=ratio)
    scores = mask.score(features).detach().requires_grad_()
    positions = mask.positions_to_keep(scores)
    weights = torch.randn(B, positions.shape[1], CODE_DIM, generator=torch.Generator().manual_seed(2))
    kept = mask.keep(features, scores, positions)
    (found,) = torch.autograd.grad((kept.features * weights).sum(), scores)

    regions = features.flatten(2).transpose(1, 2)
    coarse = mask.reduce(features).flatten(2).transpose(1, 2).detach()  # (B, L/4, d)

    def gradient(x: Tensor, weight: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        return torch.autograd.grad((mask.project(F.layer_norm(x, x.shape)) * weight).sum(), x)[0]

    for row, of_image in enumerate(positions.tolist()):
        fine = fine_blocks(of_image)
        assert len(fine) == round((len(of_image) - BLOCKS) / 3)
        for block, places in enumerate(places_of_blocks()):
            of_block, single = regions[row, places], coarse[row, block]
            if block in fine:
                expected = sum(
                    (x - single) @ gradient(x, weights[row, of_image.index(place)])
                    for place, x in zip(places, of_block, strict=True)
                )
            else:
                weight = weights[row, of_image.index(places[0])]
                expected = (of_block.mean(dim=0) - single) @ gradient(single, weight)
            # the score stands at all four regions of a block, which share its gate's gradient
            torch.testing.assert_close(found[row, places].sum(), expected, atol=1e-5, rtol=1e-4)


def test_noise_moves_whole_blocks_in_training_alone(features: Tensor) -> None:
    mask = mask_of(mask_ratio=0.6, exploration=3.0)
    torch.manual_seed(2)
    kept = [mask(features) for _ in range(30)]
    fine = [[fine_blocks(of_image) for of_image in one.positions.tolist()] for one in kept]
    assert all(len(blocks) == 1 for one in fine for blocks in one)
    assert {blocks[0] for one in fine for blocks in one} == set(range(BLOCKS))
    ranked = mask.ranked_by(kept[0].scores)  # one draw a block, or noise would be the mean of four
    assert all(ranked[row, places].unique().numel() == 1 for row in range(B) for places in places_of_blocks())
    mask.eval()
    assert torch.equal(mask(features).positions, mask(features).positions)
    mask.train().fading = 0.0
    assert torch.equal(mask(features).positions, mask.eval()(features).positions)


# ----------------------------------------------------------------------------------------- the decoder's side


def test_codes_are_copied_within_their_blocks_whatever_is_there() -> None:
    """Any pairs in any order, also none: a place's own, else its upper left one's, else the token."""
    copy = CopyCoarse(BackboneConfig(feature_dim=D), CODE_DIM, SIDE)
    generator = torch.Generator().manual_seed(3)
    for n in (0, 1, 4, 7, 11, 16):
        for _ in range(5):
            there = torch.randperm(L, generator=generator)[:n]
            positions = torch.cat([there, torch.tensor([L])]).unsqueeze(0)  # with padding at the end
            regions = torch.randn(1, n + 1, CODE_DIM, generator=generator)
            found = copy(regions, positions)
            own = {int(place): regions[0, number] for number, place in enumerate(there)}
            for places in places_of_blocks():
                for place in places:
                    vector = own.get(place, own.get(places[0], copy.mask_token))
                    expected = copy.project.weight.flatten(1) @ vector + copy.project.bias
                    torch.testing.assert_close(found[0].flatten(1)[:, place], expected)


def test_upper_left_regions() -> None:
    expected = [places[0] for places in places_of_blocks(6) for _ in places]
    where = [place for places in places_of_blocks(6) for place in places]
    assert upper_left(6)[where].tolist() == expected


@torch.no_grad()
def test_images_come_back_the_same_from_their_pairs_in_any_order() -> None:
    model = model_of().eval()
    made, encoding = model(images()), model.encode(images())
    assert isinstance(model.demask, CopyCoarse) and not model.has_budgets
    assert encoding.pairs.n_pairs == model.n_kept == 7
    assert torch.equal(encoding.pairs.is_kept, encoding.is_kept)
    assert torch.equal(made.pairs.codes, encoding.codes) and torch.equal(made.scores, encoding.scores)
    assert torch.equal(model.encode(images()).codes, encoding.codes)
    decoded = model.decode(encoding.pairs)
    torch.testing.assert_close(decoded, made.images)
    assert torch.equal(model.decode(encoding.pairs.shuffled(torch.Generator().manual_seed(4))), decoded)
    for n in range(8):
        assert model.decode(encoding.pairs[:, :n]).isfinite().all()
    others = Pairs((encoding.codes + 1) % 16, encoding.positions, SIDE)
    assert not torch.allclose(model.decode(others), decoded)


@torch.no_grad()
def test_its_decoder_is_the_one_without_a_demask_module() -> None:
    model = model_of("mask.mask_ratio=0").eval()
    plain = build_stage1(tiny("mask.mask_ratio=0", "mask.product=none", "demask.kind=none")).eval()
    assert type(plain.demask) is NoDemask
    weights = {name: tensor for name, tensor in model.state_dict().items() if "mask.s" not in name}
    missing = plain.load_state_dict(weights, strict=False)
    assert [name for name in missing.missing_keys if "mask.scorer" not in name] == []
    assert torch.equal(plain(images()).images, model(images()).images)
    unmasked = build_stage1(tiny("mask.kind=none", "mask.mask_ratio=0"))
    assert model.decoder.state_dict().keys() == unmasked.decoder.state_dict().keys()


@torch.no_grad()
def test_another_ratio_is_tried_in_whole_blocks_and_put_back() -> None:
    model = model_of().eval()
    pixels = ((images() + 1.0) * 127.5).byte()
    found = [psnr_of(model, pixels, ratio) for ratio in (0.0, 0.74, 0.75)]
    assert found[0] != found[1] == found[2] and model.mask.n == 7


# ------------------------------------------------------------------------------------------ settings, stage 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["mask.mask_ratio=0.8"], r"mask\.mask_ratio to 0\.75"),
        (["mask.mask_ratio=[0.2,0.8]"], r"mask\.mask_ratio to 0\.75"),
        (["mask.evaluation_ratio=0.9"], r"mask\.evaluation_ratio to 0\.75"),
        (["backbone.channel_multipliers=[1,2]", "data.resolution=18"], "9 a side"),
        (["mask.product=score"], "leave mask.product out"),
        (["mask.budget=threshold"], "mask.budget=fixed"),
        (["mask.budget=prefix", "mask.mask_ratio=[0.0,0.7]"], "mask.budget=fixed"),
        (["mask.product=none", "mask.scorer_rate=0.5"], r"mask\.product=straight_through"),
        (["demask.renormalise=true"], r"leave demask\.renormalise out"),
        (["demask.mask_update=false"], r"leave demask\.mask_update out"),
        (["demask.initial_trust=0.5"], r"leave demask\.initial_trust out"),
        (["demask.direction_constraint=false"], r"leave demask\.direction_constraint out"),
        (["transformer.model=raster"], r"mask\.mask_ratio=0"),
        (["transformer.model=masked_parallel"], r"transformer\.model=stackformer"),
    ],
)
def test_what_does_not_go_with_it_is_refused_with_a_way_out(changes: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        settings(*changes)


def test_what_goes_with_it() -> None:
    settings("mask.mask_ratio=0.75", "mask.scorer=conv", "mask.scorer_rate=0.5", "mask.norm=false")
    settings("mask.mask_ratio=[0.0,0.75]", "mask.evaluation_ratio=0.3", "mask.product=none")
    settings("demask.kind=none", "mask.exploration=1", "mask.exploration_steps=5", "demask.layers=7")
    assert settings("mask.product=straight_through").mask.product_in_use == settings().mask.product_in_use


def test_stage_2_learns_pairs_as_of_any_model(tmp_path: Path) -> None:
    changes = "mask.scorer=conv", "transformer.order=score"
    transformer = train_stage2(settings(*changes), model_of(*changes).eval(), tmp_path)
    assert transformer.n_pairs == 7 and not transformer.has_end


@torch.no_grad()
def test_a_stackformer_knows_its_pairs_as_any_others() -> None:
    model, config = model_of().eval(), settings()
    stackformer = build_transformer(config, model, n_classes=8).eval()
    pairs = model.encode(images()).pairs
    loss = stackformer.loss(pairs)
    assert loss.total == loss.codes + loss.positions and loss.total.isfinite()
    drawn = sample_pairs(stackformer, 5, config.sampling, generator=torch.Generator().manual_seed(0))
    assert drawn.n_pairs == 7 and drawn.is_kept.sum(dim=1).tolist() == [7] * 5
    kept = part_of(pairs[:1], box(SIDE, 0, 0, 2, SIDE))  # the upper blocks
    whole = complete_pairs(stackformer, kept, 4, config.sampling, generator=torch.Generator().manual_seed(0))
    assert kept.n_pairs >= 2 and whole.n_pairs == 7
    for codes, positions in zip(whole.codes.tolist(), whole.positions.tolist(), strict=True):
        above = {place: code for place, code in zip(positions, codes, strict=True) if place < 2 * SIDE}
        assert above == dict(zip(kept.positions.tolist(), kept.codes.tolist(), strict=True))
    assert model.decode(drawn).isfinite().all() and model.decode(whole).isfinite().all()
