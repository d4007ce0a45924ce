"""Stackformer against what the authors' layers compute from the same weights and sequences."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mvqlab.config import TransformerConfig
from mvqlab.models.pairs import Pairs
from mvqlab.models.stackformer import Stackformer
from mvqlab.models.stage2 import n_parameters

FIXTURES = Path(__file__).parent / "fixtures"

RENAMES = [
    (r"^transformer\.pos_emb$", "place_embedding"),
    (r"^transformer\.value_pos_emb\.", "position_embedding."),
    (r"^transformer\.value_emb\.", "code_embedding."),
    (r"^transformer\.value_transformer\.", "code_transformer.blocks."),
    (r"^transformer\.position_transformer\.", "position_transformer.blocks."),
    (r"^transformer\.value_head\.", "code_head."),
    (r"^transformer\.position_head\.", "position_head."),
    (r"\.ln(\d)\.", r".norm\1."),
    (r"\.attn\.proj\.", ".attention.out."),
    (r"\.attn\.query\.", ".attention.query_key_value."),
]


def to_ours(official: dict[str, Tensor], codebook_size: int) -> dict[str, Tensor]:
    """The authors' stage-2 state dict in this project's names; class tokens become the class table."""
    ours = {}
    for name, tensor in official.items():
        if ".attn.key." in name or ".attn.value." in name:
            continue
        if ".attn.query." in name:
            parts = (official[name.replace("query", part)] for part in ("query", "key", "value"))
            tensor = torch.cat(list(parts))
        for pattern, new in RENAMES:
            name = re.sub(pattern, new, name)
        ours[name] = tensor
    ours["place_embedding"] = ours["place_embedding"][0]
    if len(ours["code_embedding.weight"]) > codebook_size + 1:
        ours["start.classes.weight"] = ours["code_embedding.weight"][codebook_size:]
    return ours


@pytest.fixture(params=["code_first", "position_first", "class_conditional"])
def case(request: pytest.FixtureRequest) -> tuple[Stackformer, dict[str, Tensor]]:
    stem = FIXTURES / f"stackformer_{request.param}"
    facts = json.loads(stem.with_suffix(".json").read_text())
    config = TransformerConfig(
        first=facts["order"].split()[0],
        code_layers=facts["code_layers"],
        position_layers=facts["position_layers"],
        width=facts["width"],
        heads=facts["heads"],
        class_conditional=facts["classes"] > 0,
    )
    model = Stackformer(
        config,
        codebook_size=facts["codebook_size"],
        side=facts["grid_side"],
        n_pairs=16,
        n_classes=facts["classes"],
        block_size=facts["block_size"],
        n_start_codes=max(1, facts["classes"]),
    )
    weights = load_file(f"{stem}.weights.safetensors")
    model.load_state_dict(to_ours(weights, facts["codebook_size"]))
    return model.eval(), load_file(f"{stem}.tensors.safetensors")


@torch.no_grad()
def test_logits_and_losses_agree_with_the_authors(case: tuple[Stackformer, dict[str, Tensor]]) -> None:
    model, theirs = case
    pairs = Pairs(theirs["codes"], theirs["positions"], model.side)
    labels = None
    if model.start.classes is not None:
        labels = theirs["start"][:, 0]
        labels = labels - model.codebook_size if labels.max() >= model.codebook_size else labels
    logits = model(pairs, labels)
    torch.testing.assert_close(logits.code_logits, theirs["code_logits"], atol=1e-4, rtol=0)
    torch.testing.assert_close(logits.position_logits, theirs["position_logits"], atol=1e-4, rtol=0)
    loss = model.loss(pairs, labels)
    torch.testing.assert_close(loss.codes, theirs["code_loss"][0], atol=1e-4, rtol=0)
    torch.testing.assert_close(loss.positions, theirs["position_loss"][0], atol=1e-4, rtol=0)


def published(layers: int) -> Stackformer:
    config = TransformerConfig(code_layers=layers, position_layers=layers, width=1024, heads=16)
    with torch.device("meta"):
        return Stackformer(config, codebook_size=1024, side=32, n_pairs=256, block_size=1024)


def test_published_parameter_counts() -> None:
    assert round(n_parameters(published(12)) / 1e6, 2) == 307.56
    assert round(n_parameters(published(24)) / 1e6, 2) == 609.87


def test_published_shapes_are_the_authors() -> None:
    """Every tensor of the published checkpoint has its place, in its shape, in our model."""
    theirs = {}
    for line in (FIXTURES / "stackformer_state_dict.tsv").read_text().splitlines():
        name, shape = line.split("\t")
        sizes = [int(size) for size in shape.strip("()").split(",") if size.strip()]
        theirs[name] = torch.empty(sizes, device="meta")
    ours = {name: tensor.shape for name, tensor in to_ours(theirs, 1024).items()}
    assert ours == {name: tensor.shape for name, tensor in published(12).state_dict().items()}
