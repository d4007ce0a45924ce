"""MQ-VAE against what the authors' layers compute from the same weights and images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from official_names import listed_tensors
from safetensors.torch import load_file

from mvqlab.config import load_config
from mvqlab.interop import load_official_mqvae, stage1_settings
from mvqlab.models.mqvae import MQVAE, build_stage1

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(params=["conv", "mlp"])
def case(request: pytest.FixtureRequest) -> tuple[MQVAE, dict[str, torch.Tensor]]:
    stem = FIXTURES / f"mqvae_{request.param}_scorer"
    facts = json.loads(stem.with_suffix(".json").read_text())
    model = load_official_mqvae(
        f"{stem}.weights.safetensors", mask_ratio=1 - facts["kept_share"], resolution=facts["resolution"]
    )
    return model, load_file(f"{stem}.tensors.safetensors")


@torch.no_grad()
def test_every_step_agrees_with_the_authors(case: tuple[MQVAE, dict[str, torch.Tensor]]) -> None:
    model, theirs = case
    features = model.encoder(theirs["images"])
    torch.testing.assert_close(features, theirs["features"], atol=1e-4, rtol=0)
    kept = model.mask(features)
    torch.testing.assert_close(kept.scores, theirs["scores"], atol=1e-4, rtol=0)
    assert torch.equal(kept.positions, theirs["positions"])
    quantised = model.quantizer(kept.features)
    assert torch.equal(quantised.codes, theirs["codes"])
    torch.testing.assert_close(quantised.features, theirs["quantised"], atol=1e-4, rtol=0)
    inferred = model.demask(quantised.features, kept.positions)
    torch.testing.assert_close(inferred, theirs["demasked"], atol=1e-4, rtol=0)
    torch.testing.assert_close(model.decoder(inferred), theirs["reconstruction"], atol=1e-4, rtol=0)


@torch.no_grad()
def test_encode_then_decode_agrees_with_the_authors(case: tuple[MQVAE, dict[str, torch.Tensor]]) -> None:
    model, theirs = case
    encoding = model.encode(theirs["images"])
    assert torch.equal(encoding.codes, theirs["codes"])
    torch.testing.assert_close(model.decode(encoding.pairs), theirs["reconstruction"], atol=1e-4, rtol=0)


def n_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_parameter_counts() -> None:
    """The published configuration has exactly the published numbers of parameters, module by module."""
    with torch.device("meta"):
        model = build_stage1(load_config("ffhq256"))
    assert n_parameters(model.encoder) == 10_278_144
    assert n_parameters(model.decoder) == 11_164_291
    assert n_parameters(model.mask) == 655_875
    assert n_parameters(model.demask) == 13_396_224
    assert model.codebook.shape == (1024, 256)


def test_published_checkpoint_is_the_published_preset() -> None:
    """Every tensor of the published checkpoint has its place, and the sizes read off it are the preset's."""
    theirs = listed_tensors("mqvae_state_dict.tsv")
    preset = load_config("ffhq256")
    with torch.device("meta"):
        model = load_official_mqvae(theirs)
        expected = build_stage1(preset)
    restart = "quantizer.codebook.restart.steps_unused"
    shapes = {name: tensor.shape for name, tensor in expected.state_dict().items() if name != restart}
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == shapes
    settings = stage1_settings(theirs)
    assert settings.backbone == preset.backbone and settings.mask == preset.mask
    assert settings.grid_side == 32 and settings.demask == preset.demask
