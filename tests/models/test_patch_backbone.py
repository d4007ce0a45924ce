"""The patch backbone: the interface of VQGAN's, what reaches what, and that it trains."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_runs import tiny, tiny_stage1
from torch import nn

from mvqlab.config import BackboneConfig
from mvqlab.models.backbone import Decoder, Encoder
from mvqlab.models.mqvae import build_decoder, build_encoder
from mvqlab.models.patch_backbone import PatchDecoder, PatchEncoder
from mvqlab.training import load_stage1, train_stage1

PATCHES = ["backbone.kind=patch", "backbone.residual_blocks=2", "quantizer.start_step=0"]
RESIDUAL = ["backbone.block=residual", "backbone.attention_resolutions=[4]"]
PLAIN = ["mask.kind=none", "mask.mask_ratio=0"]


def without_norms(model: nn.Module) -> nn.Module:
    """GroupNorm hears the whole map; without it what reaches what is up to the convolutions."""
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.GroupNorm):
            model.set_submodule(name, nn.Identity())
    return model


def test_the_kind_picks_the_classes_and_vqgan_is_the_default() -> None:
    for kind, of_encoder, of_decoder in (
        ("vqgan", Encoder, Decoder),
        ("patch", PatchEncoder, PatchDecoder),
    ):
        config = BackboneConfig(kind=kind, base_channels=4)
        assert type(build_encoder(config, 16)) is of_encoder
        assert type(build_decoder(config, 16, has_head=False)) is of_decoder
    assert BackboneConfig().kind == "vqgan"


@pytest.mark.parametrize("patch_size", [2, 4, 8])
@pytest.mark.parametrize("has_head", [False, True])
def test_shapes(patch_size: int, has_head: bool) -> None:
    config = BackboneConfig(kind="patch", base_channels=6, patch_size=patch_size, feature_dim=10)
    assert config.downsampling == patch_size
    features = build_encoder(config, 24)(torch.randn(2, 3, 24, 24))
    assert features.shape == (2, 10, 24 // patch_size, 24 // patch_size)
    decoder = build_decoder(config, 24, has_head)
    assert decoder(features).shape == (2, 3, 24, 24)
    assert any(decoder.last_layer is weight for weight in decoder.parameters())


@pytest.mark.parametrize(
    ("block", "blocks", "reach"),
    [("residual", 1, 3), ("residual", 2, 5), ("depthwise", 1, 4), ("depthwise", 2, 7)],
)
def test_a_pixel_reaches_its_patch_and_those_around_it(block: str, blocks: int, reach: int) -> None:
    """A patch for the first convolution, then two a residual block and three a depth-wise one."""
    config = BackboneConfig(
        kind="patch", block=block, base_channels=6, residual_blocks=blocks, feature_dim=10
    )
    encoder = without_norms(build_encoder(config, 64))
    images = torch.randn(1, 3, 64, 64)
    changed = images.clone()
    changed[0, :, 4 * 7 + 1, 4 * 9 + 2] += 5.0  # a pixel of the patch in row 7, column 9
    reached = (encoder(images) != encoder(changed)).any(dim=1)[0]
    expected = torch.zeros(16, 16, dtype=torch.bool)
    expected[7 - reach : 7 + reach + 1, 9 - reach : 9 + reach + 1] = True
    assert torch.equal(reached, expected)


@pytest.mark.parametrize("block", ["residual", "depthwise"])
@pytest.mark.parametrize(("padding", "is_flat"), [("replicate", True), ("zeros", False)])
def test_repeated_borders_keep_flat_ground_flat(block: str, padding: str, is_flat: bool) -> None:
    """An image of one colour has the same features everywhere, and one feature the same patch."""
    config = BackboneConfig(kind="patch", block=block, padding=padding, base_channels=6, feature_dim=10)
    features = build_encoder(config, 32)(torch.full((1, 3, 32, 32), 0.3))
    images = build_decoder(config, 32, has_head=False)(torch.full((1, 10, 8, 8), 0.3))
    patches = nn.functional.pixel_unshuffle(images, 4)
    for maps in (features, patches):
        spread = (maps - maps[..., :1, :1]).abs().max()
        assert (spread < 1e-5) == is_flat


def test_a_region_is_drawn_in_its_patch_and_those_around_it() -> None:
    """The decoder has a convolution at either end and one block more than the encoder."""
    config = BackboneConfig(kind="patch", block="residual", base_channels=6, feature_dim=10)
    decoder = without_norms(build_decoder(config, 64, has_head=False))
    features = torch.randn(1, 10, 16, 16)
    changed = features.clone()
    changed[0, :, 8, 7] += 5.0
    reached = (decoder(features) != decoder(changed)).any(dim=1)[0]
    expected = torch.zeros(64, 64, dtype=torch.bool)
    expected[4 * 2 : 4 * 15, 4 * 1 : 4 * 14] = True  # six patches around row 8, column 7
    assert torch.equal(reached, expected)


@pytest.mark.parametrize("changes", [[], PLAIN, RESIDUAL, ["mask.kind=truth"], ["mask.scorer=conv"]])
def test_pairs_and_back(changes: list[str]) -> None:
    model = tiny_stage1(*PATCHES, *changes)
    images, importance = torch.randn(2, 3, 16, 16), torch.rand(2, 16, 16) > 0.5
    pairs = model.encode(images, importance).pairs
    assert pairs.side == 4 and pairs.codes.shape == (2, model.n_kept)
    assert model.decode(pairs).shape == images.shape


def test_reconstruction_moves_every_parameter() -> None:
    for changes in ([], PLAIN, RESIDUAL):
        model = tiny_stage1(*PATCHES, *changes).train()
        images = torch.randn(4, 3, 16, 16)
        model.initialise_codebook(images)
        made = model(images)
        ((made.images - images).abs().mean() + made.quantizer_loss).backward()
        still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
        assert still == []


@pytest.mark.parametrize("changes", [[], RESIDUAL])
def test_silent_branches_leave_a_linear_trunk(changes: list[str]) -> None:
    """What zero_init promises: at first the encoder is linear, but for the bias."""
    encoder = tiny_stage1(*PATCHES, "backbone.zero_init=true", *changes).encoder
    with torch.no_grad():
        first, second = torch.randn(1, 3, 16, 16), torch.randn(1, 3, 16, 16)
        zero = encoder(torch.zeros_like(first))
        torch.testing.assert_close(
            encoder(first + second) - zero, encoder(first) + encoder(second) - 2 * zero
        )


@pytest.mark.parametrize("changes", [[], PLAIN])
def test_a_run_trains_and_comes_back_from_disk(changes: list[str], tmp_path: Path) -> None:
    config = tiny(*PATCHES, "stage1.warmup_steps=0", *changes)
    losses = []
    trained = train_stage1(config, tmp_path, on_step=lambda _, values: losses.append(values["loss"]))
    assert losses and all(torch.isfinite(torch.as_tensor(loss)) for loss in losses)
    loaded = load_stage1(tmp_path)
    assert type(loaded.encoder) is PatchEncoder
    images = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(loaded(images).images, trained(images).images)
