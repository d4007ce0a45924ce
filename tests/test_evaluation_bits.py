"""Bits image by image add up to the loss."""

from __future__ import annotations

import math

import pytest
import torch

from mvqlab.config import TransformerConfig
from mvqlab.evaluation.bits import image_bits
from mvqlab.models.pairs import Pairs
from mvqlab.models.stage2 import build_stage2

K, SIDE, N, B = 13, 4, 5, 7


@pytest.mark.parametrize("kind", ["stackformer", "raster", "classes"])
def test_their_mean_is_the_loss_in_bits_whatever_the_batches(kind: str) -> None:
    torch.manual_seed(0)
    config = TransformerConfig(
        model="raster" if kind == "raster" else "stackformer", width=16, heads=2, code_layers=1,
        position_layers=1, match_parameters=False, condition="class" if kind == "classes" else "none",
    )  # fmt: skip
    n = SIDE**2 if kind == "raster" else N
    model = build_stage2(config, codebook_size=K, side=SIDE, n_pairs=n, n_classes=3).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    positions = torch.stack([torch.randperm(SIDE**2)[:n].sort().values for _ in range(B)])
    pairs = Pairs(torch.randint(K, (B, n)), positions, SIDE)
    classes = torch.arange(B) % 3 if kind == "classes" else None
    bits = image_bits(model, pairs, classes, batch_size=3)
    assert bits.shape == (B,)
    with torch.no_grad():
        loss = model.loss(pairs, classes)
    nats = loss.codes if loss.positions is None else loss.codes + loss.positions
    assert float(bits.mean()) == pytest.approx(float(nats) * n / math.log(2), rel=1e-5)
    one = image_bits(model, pairs[4:5], None if classes is None else classes[4:5])
    torch.testing.assert_close(one, bits[4:5], rtol=1e-5, atol=1e-4)


def test_a_model_that_knows_nothing_pays_the_logarithm_of_its_choices() -> None:
    config = TransformerConfig(width=16, heads=2, code_layers=1, position_layers=1, dropout=0.0)
    model = build_stage2(config, codebook_size=K, side=SIDE, n_pairs=N).eval()
    for parameter in model.parameters():
        parameter.data.zero_()
    pairs = Pairs(torch.zeros(2, N).long(), torch.arange(N).expand(2, N), SIDE)
    expected = N * (math.log2(K + 1) + math.log2(SIDE**2 + 1))
    torch.testing.assert_close(image_bits(model, pairs), torch.full((2,), expected))
