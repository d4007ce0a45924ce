"""MQ-VAE against what the authors' layers compute from the same weights and images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from official_names import NO_INFORMATION, to_ours
from safetensors.torch import load_file

from mvqlab.config import Config, config_from_dict, load_config
from mvqlab.models.mqvae import MQVAE, build_stage1

FIXTURES = Path(__file__).parent / "fixtures"


def settings_of(facts: dict) -> Config:
    return config_from_dict(
        {
            "data": {"resolution": facts["resolution"]},
            "backbone": {
                "base_channels": facts["base_channels"],
                "channel_multipliers": facts["channel_multipliers"],
                "residual_blocks": facts["residual_blocks"],
                "attention_resolutions": facts["attention_resolutions"],
                "feature_dim": facts["features"],
            },
            "mask": {"mask_ratio": 1 - facts["kept_share"], "scorer": facts["scorer"]},
            "quantizer": {"codebook_size": facts["codebook_size"], "code_dim": facts["code_dim"]},
            "demask": {"layers": facts["demask_layers"], "initial_trust": facts["mask_init"]},
        }
    )


def attention_levels(config: Config) -> set[int]:
    sides = [config.data.resolution // 2**level for level in range(len(config.backbone.channel_multipliers))]
    return {level for level, side in enumerate(sides) if side in config.backbone.attention_resolutions}


@pytest.fixture(params=["conv", "mlp"])
def case(request: pytest.FixtureRequest) -> tuple[MQVAE, dict[str, torch.Tensor]]:
    stem = f"mqvae_{request.param}_scorer"
    config = settings_of(json.loads((FIXTURES / f"{stem}.json").read_text()))
    model = build_stage1(config).eval()
    weights = load_file(FIXTURES / f"{stem}.weights.safetensors")
    ours = to_ours(weights, request.param, attention_levels(config))
    ours["quantizer.codebook.restart.steps_unused"] = torch.zeros(model.codebook_size)
    model.load_state_dict(ours)
    return model, load_file(FIXTURES / f"{stem}.tensors.safetensors")


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


def test_published_shapes_are_the_authors() -> None:
    """Every tensor of the published checkpoint has its place, in its shape, in our model."""
    theirs = {}
    for line in (FIXTURES / "mqvae_state_dict.tsv").read_text().splitlines():
        name, shape = line.split("\t")
        sizes = [int(size) for size in shape.strip("()").split(",") if size.strip()]
        theirs[name] = torch.empty(sizes, device="meta")
    config = load_config("ffhq256")
    with torch.device("meta"):
        model = build_stage1(config)
    ours = to_ours(theirs, "conv", attention_levels(config))
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    expected.pop("quantizer.codebook.restart.steps_unused")
    assert {name: tensor.shape for name, tensor in ours.items()} == expected
    assert any(NO_INFORMATION.search(name) for name in theirs)
