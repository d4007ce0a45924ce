"""The quantiser: nearest codes, straight-through gradient, moving averages and restarts, written out."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from mvqlab.config import QuantizerConfig
from mvqlab.models.codebook import Codebook, nearest_codes, smoothed
from mvqlab.models.quantizer import VectorQuantizer
from mvqlab.models.restarts import NoRestart, ReleasedRestart, RestartRule, ScaleFreeRestart, draw_features
from mvqlab.zoo.shipped import load_shipped_stage1, shipped_card, shipped_names

K, N_Z, B, N = 7, 3, 2, 5


def test_nearest_codes_against_a_double_loop() -> None:
    torch.manual_seed(0)
    features, codebook = torch.randn(11, N_Z), torch.randn(K, N_Z)
    expected = [min(range(K), key=lambda k, z=z: float((z - codebook[k]).norm())) for z in features]
    assert nearest_codes(features, codebook).tolist() == expected


def test_gradient_passes_straight_through() -> None:
    quantizer = VectorQuantizer(QuantizerConfig(codebook_size=K, code_dim=N_Z)).eval()
    features = torch.randn(B, N, N_Z, requires_grad=True)
    out = quantizer(features)
    weights = torch.randn(B, N, N_Z)
    (out.features * weights).sum().backward()
    torch.testing.assert_close(features.grad, weights)
    torch.testing.assert_close(out.features.detach(), quantizer.codebook.codes[out.codes])


def test_commitment_loss_value_and_gradient() -> None:
    quantizer = VectorQuantizer(QuantizerConfig(codebook_size=K, code_dim=N_Z, commitment_weight=0.25)).eval()
    features = torch.randn(B, N, N_Z, requires_grad=True)
    out = quantizer(features)
    gap = features - quantizer.codebook.codes[out.codes]
    torch.testing.assert_close(out.loss, 0.25 * gap.square().mean())
    out.loss.backward()
    torch.testing.assert_close(features.grad, 0.25 * 2 * gap.detach() / gap.numel())


def plain_update(
    counts: list[float], sums: list[Tensor], features: Tensor, codes: list[int], decay: float
) -> list[Tensor]:
    for k in range(K):
        mine = [z for z, code in zip(features, codes, strict=True) if code == k]
        counts[k] = decay * counts[k] + (1 - decay) * len(mine)
        sums[k] = decay * sums[k] + (1 - decay) * sum(mine, torch.zeros(N_Z))
    total = sum(counts)
    return [sums[k] / ((counts[k] + 1e-5) / (total + K * 1e-5) * total) for k in range(K)]


def test_moving_averages_against_plain_python() -> None:
    torch.manual_seed(1)
    codebook = Codebook(K, N_Z, decay=0.8, restart=NoRestart())
    codebook.initialise(torch.randn(20, N_Z))
    counts = codebook.ema_counts.tolist()
    sums = [row.clone() for row in codebook.ema_sums]
    for _ in range(4):
        features = torch.randn(13, N_Z)
        codes = codebook.nearest(features)
        codebook.update(features, codes)
        expected = plain_update(counts, sums, features, codes.tolist(), 0.8)
        torch.testing.assert_close(codebook.codes, torch.stack(expected))


def test_starting_from_data_is_no_jump() -> None:
    """Averages that start elsewhere than the codes throw the codebook about at the first step."""
    torch.manual_seed(2)
    features = torch.randn(64, N_Z)
    codebook = Codebook(K, N_Z, decay=0.99, restart=NoRestart())
    codebook.initialise(features)
    before = codebook.codes.clone()
    assert all(any(torch.equal(code, z) for z in features) for code in before)
    codebook.update(features, codebook.nearest(features))
    assert (codebook.codes - before).norm(dim=1).max() < 0.1 * before.norm(dim=1).max()


def test_smoothing_keeps_the_total() -> None:
    counts = torch.tensor([0.0, 5.0, 2.5])
    assert (smoothed(counts) > 0).all()
    torch.testing.assert_close(smoothed(counts).sum(), counts.sum())


def test_drawn_features_do_not_repeat_unless_they_must() -> None:
    features = torch.arange(10.0).unsqueeze(1)
    assert len(draw_features(features, 10).unique()) == 10
    tiled = draw_features(features, 25)
    assert tiled.shape == (25, 1)
    assert ((tiled - tiled.round()).abs() < 0.5).all() and len(tiled.unique()) == 25


def released_update(
    counts: Tensor, sums: Tensor, features: Tensor, codes: Tensor, drawn: Tensor, decay: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Counts, sums and codes after the released code's update, written out: averages, restarts, division."""
    chosen = torch.zeros(len(features), K).scatter_(1, codes.unsqueeze(1), 1.0)
    counts = decay * counts + (1 - decay) * chosen.sum(0)
    sums = decay * sums + (1 - decay) * chosen.T @ features
    for k in range(K):
        if counts[k] < 1.0:
            counts[k], sums[k] = 1.0, drawn[k]
    n = counts.sum()
    return counts, sums, sums / (n * (counts + 1e-5) / (n + K * 1e-5)).unsqueeze(1)


@pytest.mark.parametrize("n_features", [5, 40], ids=["tiled", "enough"])
def test_the_released_rule_against_its_formulas(n_features: int) -> None:
    """From a fresh codebook on, whose counts start at 0; redrawn codes of tiled features get its noise."""
    codebook = Codebook(K, N_Z, decay=0.8, restart=ReleasedRestart())
    assert codebook.ema_counts.tolist() == [0.0] * K
    counts, sums = codebook.ema_counts.clone(), codebook.ema_sums.clone()
    for step in range(4):
        features = 5.0 * torch.randn(n_features, N_Z)
        codes = codebook.nearest(features)
        torch.manual_seed(step)
        order = torch.randperm(n_features * -(-K // n_features))[:K] % n_features
        drawn = features[order]
        if n_features < K:
            drawn = drawn + torch.rand(K, N_Z) * 0.01 / N_Z**0.5
        counts, sums, expected = released_update(counts, sums, features, codes, drawn, 0.8)
        torch.manual_seed(step)
        codebook.update(features, codes)
        torch.testing.assert_close(codebook.ema_counts, counts)
        torch.testing.assert_close(codebook.ema_sums, sums)
        torch.testing.assert_close(codebook.codes, expected)


def test_noise_on_tiled_features_is_the_rules_own() -> None:
    """Features of spread 3 in 16 dimensions: the lab's noise is 0.03, the released one at most 0.0025."""
    features = 3.0 * torch.randn(50, 16)
    for rule, spread in ((ReleasedRestart(), 0.0025 / 12**0.5), (NoRestart(), 0.03)):
        drawn = draw_features(features, 400, rule.noise)
        nearest = torch.cdist(drawn, features).argmin(dim=1)
        noise = drawn - features[nearest]
        assert float(noise.std()) == pytest.approx(spread, rel=0.1)
        if isinstance(rule, ReleasedRestart):
            assert noise.min() > -1e-6 and noise.max() < 0.0025 + 1e-6


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf, 1e30])
@pytest.mark.parametrize("rule", [NoRestart(), ReleasedRestart(), ScaleFreeRestart(K, 0.1, 1)])
def test_a_feature_that_is_no_number_leaves_the_codebook_as_if_it_were_not_there(
    rule: RestartRule, bad: float
) -> None:
    codebook = Codebook(K, N_Z, decay=0.8, restart=copy.deepcopy(rule))
    codebook.initialise(torch.randn(20, N_Z))
    features = torch.randn(30, N_Z)
    codes = codebook.nearest(features)
    spoiled = torch.cat([features, torch.tensor([[0.0, bad, 1.0]])])
    expected = copy.deepcopy(codebook)
    expected.restart = NoRestart()
    expected.update(features, codes)
    codebook.update(spoiled, torch.cat([codes, codebook.nearest(spoiled[-1:])]))
    assert all(tensor.isfinite().all() for tensor in codebook.state_dict().values())
    assert codebook.codes.abs().max() < 10.0
    if isinstance(rule, NoRestart):
        torch.testing.assert_close(codebook.codes, expected.codes)


def test_a_codebook_starts_finite_from_features_some_of_which_are_not() -> None:
    features = torch.randn(5, N_Z)  # fewer than codes: noise is added to them
    features[2, 1] = torch.nan
    codebook = Codebook(K, N_Z, decay=0.8, restart=NoRestart())
    codebook.initialise(features)
    assert codebook.codes.isfinite().all()


def share_redrawn(rule: torch.nn.Module, n_codes: int, n_features: int, steps: int = 300) -> float:
    """Share of the codebook redrawn per step, once settled, with features spread over all codes."""
    torch.manual_seed(0)
    codebook = Codebook(n_codes, 2, decay=0.99, restart=rule)
    centres = torch.randn(n_codes, 2) * 10
    codebook.initialise(centres)
    redrawn = []
    is_unused = rule.is_unused

    def watched(counts: Tensor, expected: float) -> Tensor:
        which = is_unused(counts, expected)
        redrawn.append(float(which.float().mean()))
        return which

    rule.is_unused = watched
    for _ in range(steps):
        features = centres[torch.randint(n_codes, (n_features,))] + 0.01 * torch.randn(n_features, 2)
        codebook.update(features, codebook.nearest(features))
    return sum(redrawn[-50:]) / 50


@pytest.mark.parametrize(("n_features", "at_least"), [(256, 0.7), (512, 0.5)])
def test_released_restart_redraws_most_of_the_codebook_of_a_small_batch(
    n_features: int, at_least: float
) -> None:
    """The released rule compares a count that grows with the batch to a fixed 1."""
    assert share_redrawn(ReleasedRestart(), 1024, n_features) > at_least


@pytest.mark.parametrize("n_features", [64, 256, 2048])
def test_scale_free_restart_leaves_used_codes_alone_at_any_batch_size(n_features: int) -> None:
    """The cure: codes in even use are hardly ever redrawn, however small the batch."""
    assert share_redrawn(ScaleFreeRestart(1024, share=0.1, patience=20), 1024, n_features) < 0.02


def test_scale_free_restart_redraws_a_dead_code_after_its_patience() -> None:
    rule = ScaleFreeRestart(3, share=0.1, patience=4)
    counts = torch.tensor([5.0, 0.0, 5.0])
    redrawn = []
    for _ in range(9):
        redrawn.append(rule.is_unused(counts, expected=5.0).tolist())
        rule.remember(counts, expected=5.0)
    assert [row[1] for row in redrawn] == [False, False, False, True] * 2 + [False]
    assert not any(row[0] or row[2] for row in redrawn)


@pytest.mark.parametrize("rule", [NoRestart(), ReleasedRestart(), ScaleFreeRestart(3, 0.1, patience=2)])
def test_whether_a_code_is_unused_can_be_asked_as_often_as_one_likes(rule: RestartRule) -> None:
    """Or what looks on, a lesson or a log, would hurry the redraws."""
    counts = torch.tensor([0.0, 0.4, 5.0])
    rule.remember(counts, 5.0)
    before = copy.deepcopy(rule.state_dict())
    asked = [rule.is_unused(counts, 5.0).tolist() for _ in range(5)]
    assert asked == [asked[0]] * 5 and not asked[0][2]
    assert all(torch.equal(before[name], tensor) for name, tensor in rule.state_dict().items())


def test_a_redrawn_code_lies_on_a_feature_of_the_batch() -> None:
    codebook = Codebook(4, 2, decay=0.5, restart=ScaleFreeRestart(4, share=0.1, patience=1))
    codebook.initialise(torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.0, 0.1], [900.0, 900.0]]))
    features = torch.randn(64, 2)
    for _ in range(12):
        codebook.update(features, codebook.nearest(features))
    assert codebook.codes.abs().max() < features.abs().max() + 1e-4
    counts = torch.bincount(codebook.nearest(features), minlength=4)
    assert (counts > 0).all()


def test_evaluation_leaves_the_codebook_alone() -> None:
    quantizer = VectorQuantizer(QuantizerConfig(codebook_size=K, code_dim=N_Z))
    before = {name: tensor.clone() for name, tensor in quantizer.state_dict().items()}
    quantizer.eval()(torch.randn(B, N, N_Z))
    assert all(torch.equal(before[name], tensor) for name, tensor in quantizer.state_dict().items())
    quantizer.train()(torch.randn(B, N, N_Z))
    assert not torch.equal(before["codebook.codes"], quantizer.codebook.codes)


def test_while_warming_up_features_pass_and_the_codebook_rests_in_training_alone() -> None:
    quantizer = VectorQuantizer(QuantizerConfig(codebook_size=K, code_dim=N_Z))
    before = {name: tensor.clone() for name, tensor in quantizer.state_dict().items()}
    quantizer.is_warming_up = True
    features = torch.randn(B, N, N_Z)
    is_padding = torch.arange(N) >= torch.tensor([[N], [2]])
    assert torch.equal(quantizer(features).features, features) and quantizer(features).loss == 0.0
    padded = quantizer(features, is_padding)
    assert torch.equal(padded.features, features.masked_fill(is_padding[..., None], 0.0))
    assert torch.equal(padded.codes == -1, is_padding)
    assert all(torch.equal(before[name], tensor) for name, tensor in quantizer.state_dict().items())
    held_out = quantizer.eval()(features)
    torch.testing.assert_close(held_out.features, quantizer.codebook.look_up(held_out.codes))


def test_codebook_stays_in_float32_under_autocast() -> None:
    quantizer = VectorQuantizer(QuantizerConfig(codebook_size=K, code_dim=N_Z))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = quantizer(torch.randn(B, N, N_Z, dtype=torch.bfloat16))
    assert quantizer.codebook.codes.dtype == torch.float32
    assert out.loss.dtype == torch.float32


def test_autocast_does_not_change_which_codes_are_chosen() -> None:
    """Features with a common offset: in bf16 the offset's rounding is larger than what tells codes apart."""
    quantizer = VectorQuantizer(QuantizerConfig(codebook_size=K, code_dim=N_Z))
    features = 10.0 + torch.randn(B, N, N_Z)
    quantizer.codebook.initialise(features)
    other = copy.deepcopy(quantizer)
    expected = quantizer(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = other(features)
    assert torch.equal(out.codes, expected.codes)
    assert torch.equal(out.loss, expected.loss)
    assert torch.equal(other.codebook.codes, quantizer.codebook.codes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_autocast_rounds_no_distance(dtype: torch.dtype) -> None:
    """The plain function too, which lessons and measures call without a codebook around it."""
    features = (10.0 + torch.randn(200, N_Z)).to(dtype)
    codebook = (10.0 + torch.randn(K, N_Z)).to(dtype)
    expected = torch.cdist(features.double(), codebook.double()).argmin(dim=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(nearest_codes(features, codebook), expected)


STAGE1_NAMES = [name for name in shipped_names() if shipped_card(name)["stage"] == 1]


@pytest.mark.parametrize("name", STAGE1_NAMES)
def test_autocast_chooses_the_codes_of_shipped_models(name: str) -> None:
    """Distances in bf16 would choose another code for one feature in forty, or in three."""
    model = load_shipped_stage1(name)
    side = model.config.data.resolution
    with torch.no_grad():
        features = model.select(torch.rand(4, 3, side, side) * 2.0 - 1.0).features
        expected = model.quantizer(features)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = model.quantizer(features)
    assert torch.equal(found.codes, expected.codes)
    assert torch.equal(found.features, expected.features) and torch.equal(found.loss, expected.loss)


def test_a_quantiser_in_double_precision_stays_there() -> None:
    """What compares the model with formulas in float64 meets no float32 on the way."""
    quantizer = VectorQuantizer(QuantizerConfig(codebook_size=K, code_dim=N_Z)).double()
    features = torch.randn(B, N, N_Z, dtype=torch.float64)
    quantizer.codebook.initialise(features)
    out = quantizer(features)
    assert torch.equal(out.codes, torch.cdist(features, quantizer.codebook.codes[None]).argmin(dim=2))
    assert out.features.dtype == out.loss.dtype == quantizer.codebook.codes.dtype == torch.float64
