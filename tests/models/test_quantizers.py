"""Kinds of quantisers: each against its rule written out plainly, all against what any of them owes."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
import torch
from tiny_runs import tiny
from torch import Tensor

from mvqlab.arms import check_quantizer
from mvqlab.config import Config, ConfigError, QuantizerConfig, config_from_dict
from mvqlab.config.levels import even_levels
from mvqlab.data import Batch, build_splits
from mvqlab.evaluation import evaluate_stage1
from mvqlab.evaluation.codebook.usage import code_counts, codebook_redundancy, codebook_usage
from mvqlab.evaluation.likelihood.bits import pair_bits
from mvqlab.models.mqvae import build_stage1
from mvqlab.models.quantizers import KINDS, build_quantizer
from mvqlab.sampling import sample_images
from mvqlab.support.optional import MissingPackageError
from mvqlab.training import load_stage1, tokenise, train_stage1, train_stage2
from mvqlab.training.stage1 import check_processes
from mvqlab.training.stage1_step import Judged, stage1_step

K, N_Z = 64, 8
OTHERS = [kind for kind in KINDS if kind != "ema"]
IMPLICIT = ("fsq", "lfq")


def quantizer_of(kind: str, seed: int = 0):
    torch.manual_seed(seed)
    return build_quantizer(QuantizerConfig(kind=kind, codebook_size=K, code_dim=N_Z))


def features_of(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, N_Z, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_a_code_is_what_its_vector_gets_again(kind: str) -> None:
    """Where a code's vector is nearest to itself; of implicit kinds, in the numbers that are rounded."""
    quantizer = quantizer_of(kind).eval()
    everything = torch.arange(K)
    assert quantizer.size == K and quantizer.codes.shape == (K, N_Z)
    assert torch.equal(quantizer.look_up(everything), quantizer.codes)
    if kind not in IMPLICIT:
        assert torch.equal(quantizer.nearest(quantizer.codes), everything)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_keeps_what_any_owes(kind: str) -> None:
    """Also that padding changes nothing, in training and out of it; see `check_quantizer`."""
    check_quantizer(quantizer_of(kind), N_Z)


def test_finite_scalars_are_the_rounded_numbers() -> None:
    """Source: Mentzer et al. 2023, section 3.1: tanh to L - 1 wide, shifted for even L, rounded."""
    quantizer = quantizer_of("fsq").eval()
    levels = torch.tensor(even_levels(K))
    features = features_of(3, 50)
    numbers = features @ quantizer.rule.project_in.weight.T + quantizer.rule.project_in.bias
    half, offset = (levels - 1) * (1 + 1e-3) / 2, torch.where(levels % 2 == 0, 0.5, 0.0)
    steps = torch.round(torch.tanh(numbers + torch.atanh(offset / half)) * half - offset)
    digits = steps + levels // 2
    weights = torch.tensor([1, *itertools.accumulate(even_levels(K)[:-1], lambda a, b: a * b)])
    assert torch.equal(quantizer.nearest(features), (digits * weights).sum(1).long())
    vectors = (steps / (levels // 2)) @ quantizer.rule.project_out.weight.T + quantizer.rule.project_out.bias
    torch.testing.assert_close(quantizer(features[None]).features[0], vectors)


def test_lookup_free_codes_are_the_signs() -> None:
    quantizer = quantizer_of("lfq").eval()
    features = features_of(4, 50)
    numbers = features @ quantizer.rule.project_in.weight.T + quantizer.rule.project_in.bias
    binary = ["".join("1" if number > 0 else "0" for number in row) for row in numbers.tolist()]
    assert quantizer.nearest(features).tolist() == [int(digits, 2) for digits in binary]
    vectors = numbers.sign() @ quantizer.rule.project_out.weight.T + quantizer.rule.project_out.bias
    torch.testing.assert_close(quantizer(features[None]).features[0], vectors)


def test_a_frozen_codebook_moves_as_a_whole() -> None:
    quantizer = quantizer_of("simvq").train()
    features = features_of(5, 1, 40).requires_grad_()
    before, frozen = quantizer.codes.detach().clone(), quantizer.rule.frozen_codebook.clone()
    distances = (features[0].detach()[:, None] - before).square().sum(2)
    made = quantizer(features)
    assert torch.equal(made.codes[0], distances.argmin(1))
    nearest = distances.min(1).values.mean() / N_Z
    assert made.loss.item() == pytest.approx(1.25 * nearest.item(), rel=1e-5)
    made.loss.backward()
    with torch.no_grad():
        for weight in quantizer.parameters():
            weight -= 0.5 * weight.grad
    moved = (quantizer.codes - before).norm(dim=1)
    assert (moved > 0).all() and len(made.codes.unique()) < K  # chosen or not
    assert torch.equal(quantizer.rule.frozen_codebook, frozen)


def test_rotation_keeps_the_angle_of_the_gradient_to_the_feature() -> None:
    """Source: Fifty et al. 2024: dL/dz = |e| / |z| R^T dL/de, R the turn from z to e."""
    quantizer = quantizer_of("rotation").eval()
    features = features_of(6, 1, 20).requires_grad_()
    made = quantizer(features)
    gradient = features_of(7, 1, 20)
    made.features.backward(gradient)
    z, e, g, found = (x.detach()[0].double() for x in (features, made.features, gradient, features.grad))
    for one_z, one_e, one_g, one in zip(z, e, g, found, strict=True):
        u, v = one_z / one_z.norm(), one_e / one_e.norm()
        w = (u + v) / (u + v).norm()
        rotation = torch.eye(N_Z).double() - 2 * torch.outer(w, w) + 2 * torch.outer(v, u)
        torch.testing.assert_close(rotation @ u, v, atol=1e-6, rtol=0)
        torch.testing.assert_close(
            one, one_e.norm() / one_z.norm() * rotation.T @ one_g, atol=1e-5, rtol=1e-4
        )
    plain = quantizer_of("ema").eval()(features.detach())
    assert torch.equal(plain.codes, made.codes)
    torch.testing.assert_close(plain.features, made.features)


@pytest.mark.parametrize("kind", KINDS)
def test_use_and_redundancy_are_known_of_every_kind(kind: str) -> None:
    model = build_stage1(settings(kind))
    counts = code_counts(torch.arange(model.codebook_size), model.codebook_size)
    assert codebook_usage(torch.arange(model.codebook_size), model.codebook_size).used_share == 1.0
    rank = codebook_redundancy(model.codebook, counts).effective_rank
    largest = {"fsq": len(even_levels(K)), "lfq": 6}.get(kind, N_Z)
    assert 1.0 < rank <= largest + 1e-3  # offsets of a linear map are no direction


def settings(kind: str, *changes: str) -> Config:
    return tiny(
        f"quantizer.kind={kind}", f"quantizer.codebook_size={K}", f"quantizer.code_dim={N_Z}", *changes
    )


@pytest.mark.parametrize("kind", OTHERS)
def test_a_training_step_reaches_encoder_and_decoder(kind: str) -> None:
    config = settings(kind)
    torch.manual_seed(0)
    model = build_stage1(config)
    images = torch.rand(4, 3, config.data.resolution, config.data.resolution) * 2 - 1
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    batch = Batch(images, torch.zeros(4, dtype=torch.long), [""] * 4, None)
    losses = stage1_step(Judged(model, config.loss), torch.optim.SGD(model.parameters(), 0.1), batch, config)
    assert losses["loss"].isfinite()
    moved = {
        name.split(".")[0]
        for name, weight in model.named_parameters()
        if not torch.equal(before[name], weight)
    }
    assert {"encoder", "decoder"} <= moved
    assert ("quantizer" in moved) == (kind != "rotation")


@pytest.mark.parametrize("kind", OTHERS)
def test_a_run_goes_on_to_the_bit_and_loads(kind: str, tmp_path: Path) -> None:
    whole = settings(kind, "stage1.steps=4", "stage1.checkpoint_every=2", "stage1.log_every=1")
    at_once = train_stage1(whole, tmp_path / "at_once")
    with pytest.raises(KeyboardInterrupt):
        train_stage1(whole, tmp_path / "cut", on_step=stop_at(3))
    gone_on = train_stage1(whole, tmp_path / "cut", resume=True)
    loaded = load_stage1(tmp_path / "cut")
    for name, weight in at_once.state_dict().items():
        assert torch.equal(weight, gone_on.state_dict()[name]), name
        assert torch.equal(weight, loaded.state_dict()[name]), name


def stop_at(last: int):
    def on_step(step: int, values: dict[str, float]) -> None:
        if step >= last:
            raise KeyboardInterrupt

    return on_step


@pytest.mark.parametrize(
    ("size", "levels"),
    [(256, (8, 8, 4)), (240, (8, 6, 5)), (1000, (8, 5, 5, 5)), (7, (7,)), (64, (8, 8)), (31, ())],
)
def test_levels_are_few_and_even(size: int, levels: tuple[int, ...]) -> None:
    assert even_levels(size) == levels


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"kind": "lfq", "codebook_size": 100}, "64 or 128"),
        ({"kind": "fsq", "codebook_size": 31}, "31 is not that"),
        ({"kind": "fsq", "codebook_size": 64, "levels": [8, 4]}, "64 is not that"),
        ({"kind": "ema", "levels": [8, 8]}, "quantizer.kind=fsq"),
        ({"kind": "fsq", "codebook_size": 2, "levels": [2]}, "levels"),
    ],
)
def test_sizes_that_do_not_fit_the_kind_are_refused_in_words(given: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config_from_dict({"quantizer": given})


@pytest.mark.parametrize("kind", OTHERS)
def test_without_the_package_the_extra_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vector_quantize_pytorch", None)
    monkeypatch.setitem(sys.modules, "vector_quantize_pytorch.vector_quantize_pytorch", None)
    with pytest.raises(MissingPackageError, match=rf"kind={kind}.*mvqlab\[rivals\]"):
        quantizer_of(kind)


def test_settings_of_before_are_written_as_before() -> None:
    """Grids know points that have run by their settings, which had no kind."""
    assert not {"kind", "levels"} & set(Config().model_dump(mode="json")["quantizer"])
    assert Config().model_dump()["stage2"].get("half", "not there") == "not there"
    other = config_from_dict({"quantizer": {"kind": "fsq", "codebook_size": 64, "levels": [8, 8]}})
    written = other.model_dump(mode="json")["quantizer"]
    assert (written["kind"], written["levels"]) == ("fsq", [8, 8])
    assert config_from_dict(other.model_dump(mode="json")) == other


@pytest.mark.parametrize("kind", OTHERS)
def test_transformers_and_the_evaluation_take_any_kind(kind: str, tmp_path: Path) -> None:
    """From pairs to samples, bits and the codebook's columns: the same road as with the published kind."""
    config = settings(kind, "mask.mask_ratio=0.5", "evaluation.samples=3")
    stage1 = train_stage1(config, tmp_path / "stage1")
    splits = build_splits(config.data)
    row = evaluate_stage1(stage1, splits, config)
    assert 0.0 < float(row["codebook_used_share"]) <= 1.0 and float(row["psnr"]) > 0.0
    stage2 = train_stage2(config, stage1, tmp_path / "stage2", splits=splits)
    samples = sample_images(stage2, stage1, config)
    assert samples.images.shape[0] == 3 and samples.pairs.codes.max() < K
    tokens = tokenise(stage1, splits.validation)
    assert pair_bits(stage2, tokens.pairs).codes.isfinite().all()


def test_rotation_reaches_its_code_under_autocast() -> None:
    quantizer = quantizer_of("rotation").eval()
    features = features_of(6, 1, 20)
    with torch.autocast("cpu", torch.bfloat16):
        made = quantizer(features)
    torch.testing.assert_close(made.features, quantizer.look_up(made.codes), atol=1e-5, rtol=1e-5)


def test_lfq_in_several_processes_is_refused() -> None:
    config = settings("lfq")
    check_processes(config, 1)
    with pytest.raises(ConfigError, match="one process"):
        check_processes(config, 2)
    check_processes(settings("fsq"), 2)
