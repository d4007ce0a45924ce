"""Stage 1: MQ-VAE, and the plain VQ model with the same backbone as its baseline (section 3.1).

    images -> encoder -> adaptive mask -> quantiser -> de-mask -> decoder -> images      MQVAE
    images -> encoder ------------------> quantiser ------------> decoder -> images      PlainVQ

Symbols: B images of H x W pixels; a grid of h x w = L regions, numbered row by row, of d features each; N
regions kept; K codes of dimension n_z.

Both are `TokenModel`s: they turn images into `Pairs` and `Pairs` into images, so all that follows
(stage 2, evaluation, notebooks) takes either.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mvqlab.config import BackboneConfig, Config
from mvqlab.models.backbone import Decoder, Encoder, zero_init_branches
from mvqlab.models.demasking import build_demask
from mvqlab.models.dual_grain import CopyCoarse
from mvqlab.models.mask_context import NO_CONTEXT, MaskContext
from mvqlab.models.masking import KeptRegions
from mvqlab.models.masks import build_mask
from mvqlab.models.pairs import NO_CODE, Pairs
from mvqlab.models.patch_backbone import PatchDecoder, PatchEncoder
from mvqlab.models.quantizers import build_quantizer


class Encoding(NamedTuple):
    """What an image is after the encoder, the mask and the quantiser.

    pairs: codes and positions, in raster order, padded where images keep more and fewer regions.
    scores: how important each region is; ones for the plain model.
    is_kept: True where a region was quantised.
    """

    pairs: Pairs
    scores: Float[Tensor, "B L"]
    is_kept: Bool[Tensor, "B L"]

    @property
    def codes(self) -> Int[Tensor, "B N"]:
        """Indices into the codebook, -1 at padding."""
        return self.pairs.codes

    @property
    def positions(self) -> Int[Tensor, "B N"]:
        """Places in the grid, rising; L at padding."""
        return self.pairs.positions


class Reconstruction(NamedTuple):
    """An `Encoding`, the images decoded from it, not clipped, and the quantiser's loss."""

    images: Float[Tensor, "B 3 H W"]
    pairs: Pairs
    scores: Float[Tensor, "B L"]
    is_kept: Bool[Tensor, "B L"]
    quantizer_loss: Float[Tensor, ""]


class TokenModel(nn.Module):
    """A stage-1 model: images to pairs of code and position, and back."""

    def __init__(self, config: Config, has_head: bool) -> None:
        super().__init__()
        self.config, self.side = config, config.grid_side
        self.encoder = build_encoder(config.backbone, config.data.resolution)
        self.quantizer = build_quantizer(config.quantizer)
        self.decoder = build_decoder(config.backbone, config.data.resolution, has_head)

    @property
    def n_positions(self) -> int:
        """L, the regions of the grid."""
        return self.side**2

    @property
    def n_kept(self) -> int:
        """N, the regions of an image that get a code outside training; on average, if images differ in it."""
        return self.n_positions

    @property
    def has_budgets(self) -> bool:
        """Whether each image has a budget of its own, and may keep from 1 to L regions."""
        return self.config.mask.budget == "threshold"

    @property
    def codebook(self) -> Float[Tensor, "K n_z"]:
        """The codes' vectors."""
        return self.quantizer.codes.detach()

    @property
    def codebook_size(self) -> int:
        """K."""
        return self.quantizer.size

    def select(self, images: Float[Tensor, "B 3 H W"], context: MaskContext = NO_CONTEXT) -> KeptRegions:
        """The regions of `images` in [-1, 1] that go to the quantiser, before it."""
        raise NotImplementedError

    def restore(
        self, regions: Float[Tensor, "B N n_z"], positions: Int[Tensor, "B N"]
    ) -> Float[Tensor, "B 3 H W"]:
        """Images, not clipped, from quantised `regions` that belong at `positions`."""
        raise NotImplementedError

    def forward(
        self,
        images: Float[Tensor, "B 3 H W"],
        importance: Bool[Tensor, "B H W"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Reconstruction:
        """Encode, quantise and decode `images` in [-1, 1] (section 3.1). Training moves the codebook.

        `importance` is the true object mask, for models that keep by it; `generator` is what random masks
        are drawn from.
        """
        kept = self.select(images, MaskContext(importance=importance, generator=generator))
        quantised = self.quantizer(kept.features, kept.is_padding)  # (B, N, n_z)
        restored = self.restore(quantised.features, kept.positions)  # (B, 3, H, W)
        pairs = Pairs(quantised.codes, kept.positions, self.side)
        return Reconstruction(restored, pairs, kept.scores, kept.is_kept, quantised.loss)

    def encode(
        self,
        images: Float[Tensor, "B 3 H W"],
        importance: Bool[Tensor, "B H W"] | None = None,
        generator: torch.Generator | None = None,
    ) -> Encoding:
        """`images` in [-1, 1] to pairs, scores and kept mask; see `forward`. The codebook stays as it is."""
        kept = self.select(images, MaskContext(importance=importance, generator=generator))
        codes = self.quantizer.nearest(kept.features)  # (B, N, n_z) -> (B, N)
        if kept.is_padding is not None:
            codes = codes.masked_fill(kept.is_padding, NO_CODE)
        return Encoding(Pairs(codes, kept.positions, self.side), kept.scores, kept.is_kept)

    def decode(self, pairs: Pairs) -> Float[Tensor, "B 3 H W"]:
        """Images, not clipped, from pairs in any order."""
        codes = pairs.codes.clamp(min=0)  # any code will do for padding, which goes nowhere
        return self.restore(self.quantizer.look_up(codes), pairs.positions)

    @torch.no_grad()
    def initialise_codebook(
        self, images: Float[Tensor, "B 3 H W"], importance: Bool[Tensor, "B H W"] | None = None
    ) -> None:
        """Start the codebook from the features of a first batch of `images`; see `forward`."""
        kept = self.select(images, MaskContext(importance=importance))
        self.quantizer.initialise(kept.all_features)


class MQVAE(TokenModel):
    """Masked-quantisation VAE: only the important regions get a code."""

    def __init__(self, config: Config) -> None:
        code_dim = config.quantizer.code_dim
        mask = build_mask(config.mask, config.backbone, code_dim, config.grid_side**2)
        infers = config.demask.kind != "none" and config.mask.kind != "dual_grain"
        super().__init__(config, has_head=not infers)
        self.mask = mask
        if config.mask.kind == "dual_grain":  # has nothing to infer, whatever the de-mask module's settings
            self.demask: nn.Module = CopyCoarse(config.backbone, code_dim, config.grid_side)
        else:
            self.demask = build_demask(config.demask, config.backbone, code_dim, config.grid_side)

    @property
    def n_kept(self) -> int:
        """N, the regions of an image that get a code outside training; on average, if images differ in it."""
        return self.mask.n

    def select(self, images: Float[Tensor, "B 3 H W"], context: MaskContext = NO_CONTEXT) -> KeptRegions:
        """The regions of `images` in [-1, 1] that the mask module keeps, before the quantiser."""
        return self.mask(self.encoder(images), context._replace(images=images))  # features (B, d, h, w)

    def restore(
        self, regions: Float[Tensor, "B N n_z"], positions: Int[Tensor, "B N"]
    ) -> Float[Tensor, "B 3 H W"]:
        """Images from quantised `regions` at `positions`; the de-mask module infers what was dropped."""
        return self.decoder(self.demask(regions, positions))  # (B, N, n_z) -> (B, d, h, w) -> (B, 3, H, W)


class PlainVQ(TokenModel):
    """The unmasked baseline: VQGAN's model, a code for every region."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, has_head=True)
        self.project_in = nn.Linear(config.backbone.feature_dim, config.quantizer.code_dim)
        self.project_out = nn.Linear(config.quantizer.code_dim, config.backbone.feature_dim)

    def select(self, images: Float[Tensor, "B 3 H W"], context: MaskContext = NO_CONTEXT) -> KeptRegions:
        """All L regions of `images` in [-1, 1], with a score of 1 each; nothing of `context` is read."""
        features = self.encoder(images)  # (B, d, h, w)
        regions = features.flatten(2).transpose(1, 2)  # (B, d, h, w) -> (B, d, L) -> (B, L, d)
        regions = self.project_in(regions)  # (B, L, n_z)
        everywhere = torch.ones(regions.shape[:2], device=images.device)  # (B, L)
        positions = torch.arange(self.n_positions, device=images.device).expand(len(images), -1)  # (B, L)
        return KeptRegions(regions, positions, everywhere, everywhere.bool())

    def restore(
        self, regions: Float[Tensor, "B L n_z"], positions: Int[Tensor, "B L"]
    ) -> Float[Tensor, "B 3 H W"]:
        """Images from the quantised `regions` of all L `positions`, in any order."""
        index = positions.unsqueeze(-1).expand_as(regions)  # (B, L) -> (B, L, 1) -> (B, L, n_z)
        in_place = torch.empty_like(regions).scatter(1, index, regions)  # (B, L, n_z), in raster order
        features = self.project_out(in_place).transpose(1, 2)  # (B, L, d) -> (B, d, L)
        return self.decoder(features.unflatten(2, (self.side, self.side)))  # (B, d, L) -> (B, d, h, w)


def build_encoder(config: BackboneConfig, resolution: int) -> Encoder | PatchEncoder:
    """The encoder that `config.kind` names: images (B, 3, H, W), H = `resolution`, to (B, d, h, w)."""
    kind = PatchEncoder if config.kind == "patch" else Encoder
    return kind(config, resolution)


def build_decoder(config: BackboneConfig, resolution: int, has_head: bool) -> Decoder | PatchDecoder:
    """The decoder that `config.kind` names: (B, d, h, w) to images. `has_head`: nothing infers before it."""
    kind = PatchDecoder if config.kind == "patch" else Decoder
    return kind(config, resolution, has_head)


def build_stage1(config: Config) -> MQVAE | PlainVQ:
    """The stage-1 model that `config.mask.kind` names, freshly initialised from torch's global seed."""
    model = PlainVQ(config) if config.mask.kind == "none" else MQVAE(config)
    if config.backbone.zero_init:
        zero_init_branches(model)
    return model


def quickest_layout(device: torch.device) -> torch.memory_format:
    """How a stage-1 model's weights should lie for training on `device`.

    Channels last makes a step a fifth faster on CPUs. On an H100 it made that of `ffhq256` a seventh slower,
    in float32 and in bfloat16 alike (results/gpu).
    """
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format
