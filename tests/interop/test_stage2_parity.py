"""Stackformer against what the authors' layers compute from the same weights and sequences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from official_names import listed_tensors
from safetensors.torch import load_file
from torch import Tensor

from mvqlab.config import load_config
from mvqlab.interop import load_official_stackformer
from mvqlab.models.pairs import Pairs
from mvqlab.models.stackformer import Stackformer
from mvqlab.models.start import ClassStart
from mvqlab.models.transformers import build_stage2, n_parameters

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(params=["code_first", "position_first", "class_conditional"])
def case(request: pytest.FixtureRequest) -> tuple[Stackformer, dict[str, Tensor]]:
    stem = FIXTURES / f"stackformer_{request.param}"
    facts = json.loads(stem.with_suffix(".json").read_text())
    weights = load_file(f"{stem}.weights.safetensors")
    if facts["classes"]:
        # the fixture counts classes from behind the codes, the authors' trained models put them before
        for name in ("transformer.value_emb.weight", "transformer.value_head.1.weight"):
            weights[name] = weights[name].roll(facts["classes"], dims=0)
    model = load_official_stackformer(
        weights,
        first=facts["order"].split()[0],
        heads=facts["heads"],
        n_classes=facts["classes"],
    )
    assert (model.codebook_size, model.side) == (facts["codebook_size"], facts["grid_side"])
    return model, load_file(f"{stem}.tensors.safetensors")


@torch.no_grad()
def test_logits_and_losses_agree_with_the_authors(case: tuple[Stackformer, dict[str, Tensor]]) -> None:
    model, theirs = case
    pairs = Pairs(theirs["codes"], theirs["positions"], model.side)
    labels = None
    if isinstance(model.start, ClassStart):
        labels = theirs["start"][:, 0]
        labels = labels - model.codebook_size if labels.max() >= model.codebook_size else labels
    logits = model(pairs, labels)
    torch.testing.assert_close(logits.code_logits, theirs["code_logits"], atol=1e-4, rtol=0)
    torch.testing.assert_close(logits.position_logits, theirs["position_logits"], atol=1e-4, rtol=0)
    loss = model.loss(pairs, labels)
    torch.testing.assert_close(loss.codes, theirs["code_loss"][0], atol=1e-4, rtol=0)
    torch.testing.assert_close(loss.positions, theirs["position_loss"][0], atol=1e-4, rtol=0)


def published(layers: int) -> Stackformer:
    config = load_config(
        "ffhq256", {"transformer.code_layers": layers, "transformer.position_layers": layers}
    )
    with torch.device("meta"):
        return build_stage2(config.transformer, codebook_size=1024, side=32, n_pairs=256)


def test_published_parameter_counts() -> None:
    assert round(n_parameters(published(12)) / 1e6, 2) == 307.56
    assert round(n_parameters(published(24)) / 1e6, 2) == 609.87


def test_published_checkpoint_is_the_published_preset() -> None:
    """Every tensor of the published checkpoint has its place, in its shape, in our model."""
    with torch.device("meta"):
        model = load_official_stackformer(listed_tensors("stackformer_state_dict.tsv"))
    ours = {name: tensor.shape for name, tensor in model.state_dict().items()}
    assert ours == {name: tensor.shape for name, tensor in published(12).state_dict().items()}
    assert (model.n_pairs, model.code_transformer.blocks[0].attention.heads) == (256, 16)
