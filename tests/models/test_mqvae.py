"""MQ-VAE and the plain VQ model: interface, gradients, and what may depend on what."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import tiny, tiny_stage1

from mvqlab.models.discriminator import PatchDiscriminator
from mvqlab.models.mqvae import MQVAE, PlainVQ
from mvqlab.models.pairs import Pairs

ATTENTION = ["backbone.attention_resolutions=[4]", "demask.layers=2"]  # every kind of layer, one on another
PLAIN = ["mask.kind=none", "mask.mask_ratio=0"]


@pytest.mark.parametrize("mask", [[], ["mask.kind=random"], ["mask.kind=truth"], ["mask.scorer=conv"], PLAIN])
def test_one_interface_for_every_model(mask: list[str]) -> None:
    model = tiny_stage1(*ATTENTION, *mask)
    assert isinstance(model, PlainVQ if mask is PLAIN else MQVAE)
    images, importance = torch.randn(3, 3, 16, 16), torch.rand(3, 16, 16) > 0.5
    generator = torch.Generator().manual_seed(0)
    encoding = model.encode(images, importance, generator)
    assert encoding.codes.shape == (3, model.n_kept)
    assert encoding.scores.shape == encoding.is_kept.shape == (3, model.n_positions)
    assert torch.equal(encoding.pairs.is_kept, encoding.is_kept)
    assert (encoding.positions.diff(dim=1) > 0).all()
    assert encoding.codes.max() < model.codebook_size
    made = model(images, importance, torch.Generator().manual_seed(0))
    torch.testing.assert_close(made.images, model.decode(encoding.pairs))
    assert made.images.shape == images.shape


@settings(max_examples=15, deadline=None)
@given(mask_ratio=st.floats(0.0, 0.99), kind=st.sampled_from(["adaptive", "random"]))
def test_any_ratio_has_its_share_of_pairs(mask_ratio: float, kind: str) -> None:
    model = tiny_stage1(f"mask.kind={kind}", f"mask.mask_ratio={mask_ratio!r}")
    encoding = model.encode(torch.randn(2, 3, 16, 16))
    assert encoding.codes.shape == (2, max(1, round((1 - mask_ratio) * 16)))
    assert model.decode(encoding.pairs).shape == (2, 3, 16, 16)


def test_reconstruction_moves_every_parameter_of_the_masked_model() -> None:
    model = tiny_stage1(*ATTENTION).train()
    images = torch.randn(4, 3, 16, 16)
    model.initialise_codebook(images)
    made = model(images)
    ((made.images - images).abs().mean() + made.quantizer_loss).backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_decode_takes_pairs_in_any_order() -> None:
    for mask in ([], PLAIN):
        model = tiny_stage1(*ATTENTION, *mask)
        pairs = model.encode(torch.randn(2, 3, 16, 16)).pairs
        shuffled = pairs.in_order(torch.rand(pairs.codes.shape))
        assert not torch.equal(shuffled.positions, pairs.positions)
        torch.testing.assert_close(model.decode(shuffled), model.decode(pairs))
        assert torch.equal(shuffled.in_order(shuffled.positions).codes, pairs.codes)


def test_dropped_regions_are_inferred_from_kept_ones() -> None:
    """Change one code: the picture changes at dropped regions too."""
    model = tiny_stage1("mask.mask_ratio=0.9")
    pairs = model.encode(torch.randn(1, 3, 16, 16)).pairs
    other = Pairs((pairs.codes + 1) % model.codebook_size, pairs.positions, pairs.side)
    changed = (model.decode(pairs) - model.decode(other)).abs().sum(1)[0]
    assert (changed > 0).float().mean() > 0.9


def test_encoding_does_not_train_the_codebook() -> None:
    model = tiny_stage1().train()
    before = model.codebook.clone()
    model.encode(torch.randn(2, 3, 16, 16))
    assert torch.equal(before, model.codebook)
    model(torch.randn(2, 3, 16, 16))
    assert not torch.equal(before, model.codebook)


@pytest.mark.shapes_unchecked  # as outside of pytest
def test_pairs_refuse_mismatched_shapes() -> None:
    with pytest.raises(ValueError, match="both be"):
        Pairs(torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 4, dtype=torch.long), 4)


def test_discriminator_judges_patches() -> None:
    """A patch's verdict depends on its receptive field alone."""
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(tiny().discriminator).eval()
    images = torch.randn(2, 3, 64, 64)
    verdict = discriminator(images)
    assert verdict.shape[:2] == (2, 1) and verdict.shape[2] > 4
    changed = images.clone()
    changed[:, :, :4, :4] += 1.0
    difference = (discriminator(changed) - verdict).abs()
    assert difference[..., 0, 0].min() > 0 and difference[..., -1, -1].max() == 0
