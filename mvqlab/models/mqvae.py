"""Stage 1: MQ-VAE, and the plain VQ model with the same backbone as its baseline (section 3.1).

    images -> encoder -> adaptive mask -> quantiser -> de-mask -> decoder -> images      MQVAE
    images -> encoder ------------------> quantiser ------------> decoder -> images      PlainVQ

Both are `TokenModel`s: they turn images into `Pairs` and `Pairs` into images, so all that follows
(stage 2, evaluation, notebooks) takes either.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mvqlab.config import BackboneConfig, Config
from mvqlab.models.backbone import Decoder, Encoder, silence_branches
from mvqlab.models.demasking import DemaskModule
from mvqlab.models.masking import KeptRegions, build_mask
from mvqlab.models.pairs import NO_CODE, Pairs
from mvqlab.models.patch_backbone import PatchDecoder, PatchEncoder
from mvqlab.models.quantizer import VectorQuantizer


class Encoding(NamedTuple):
    """What an image is after the encoder, the mask and the quantiser.

    pairs: codes and positions, in raster order, padded where images keep more and fewer regions.
    scores (B, L): ones for the plain model. is_kept (B, L): True where a region was quantised.
    """

    pairs: Pairs
    scores: Tensor
    is_kept: Tensor

    @property
    def codes(self) -> Tensor:
        """(B, N) indices into the codebook, -1 at padding."""
        return self.pairs.codes

    @property
    def positions(self) -> Tensor:
        """(B, N) places in the grid, rising; L at padding."""
        return self.pairs.positions


class Reconstruction(NamedTuple):
    """An `Encoding`, the images (B, 3, H, W) decoded from it and the quantiser's loss ()."""

    images: Tensor
    pairs: Pairs
    scores: Tensor
    is_kept: Tensor
    quantizer_loss: Tensor


class TokenModel(nn.Module):
    """A stage-1 model: images to pairs of code and position, and back."""

    def __init__(self, config: Config, has_head: bool) -> None:
        super().__init__()
        self.config, self.side = config, config.grid_side
        self.encoder = build_encoder(config.backbone, config.data.resolution)
        self.quantizer = VectorQuantizer(config.quantizer)
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
    def codebook(self) -> Tensor:
        """The codes' vectors (K, n_z)."""
        return self.quantizer.codebook.codes

    @property
    def codebook_size(self) -> int:
        """K."""
        return self.quantizer.codebook.size

    def select(
        self, images: Tensor, importance: Tensor | None = None, generator: torch.Generator | None = None
    ) -> KeptRegions:
        """The regions of `images` (B, 3, H, W) that go to the quantiser, before it."""
        raise NotImplementedError

    def restore(self, regions: Tensor, positions: Tensor) -> Tensor:
        """Images (B, 3, H, W) from quantised regions (B, N, n_z) at positions (B, N)."""
        raise NotImplementedError

    def forward(
        self, images: Tensor, importance: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Reconstruction:
        """Encode, quantise and decode `images` (B, 3, H, W) in [-1, 1].

        `importance` (B, H, W) is the true object mask, for models that keep by it; `generator` is what
        random masks are drawn from.
        """
        kept = self.select(images, importance, generator)
        quantised = self.quantizer(kept.features, kept.is_padding)
        restored = self.restore(quantised.features, kept.positions)
        pairs = Pairs(quantised.codes, kept.positions, self.side)
        return Reconstruction(restored, pairs, kept.scores, kept.is_kept, quantised.loss)

    def encode(
        self, images: Tensor, importance: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Encoding:
        """Images (B, 3, H, W) to pairs, scores and kept mask. The codebook stays as it is."""
        kept = self.select(images, importance, generator)
        codes = self.quantizer.codebook.nearest(kept.features)
        if kept.is_padding is not None:
            codes = codes.masked_fill(kept.is_padding, NO_CODE)
        return Encoding(Pairs(codes, kept.positions, self.side), kept.scores, kept.is_kept)

    def decode(self, pairs: Pairs) -> Tensor:
        """Images (B, 3, H, W) from pairs in any order."""
        codes = pairs.codes.clamp(min=0)  # any code will do for padding, which goes nowhere
        return self.restore(self.quantizer.codebook.look_up(codes), pairs.positions)

    @torch.no_grad()
    def initialise_codebook(self, images: Tensor, importance: Tensor | None = None) -> None:
        """Start the codebook from the features of a first batch of `images` (B, 3, H, W)."""
        self.quantizer.codebook.initialise(self.select(images, importance).all_features)


class MQVAE(TokenModel):
    """Masked-quantisation VAE: only the important regions get a code."""

    def __init__(self, config: Config) -> None:
        code_dim = config.quantizer.code_dim
        mask = build_mask(config.mask, config.backbone, code_dim, config.grid_side**2)
        super().__init__(config, has_head=False)
        self.mask = mask
        self.demask = DemaskModule(config.demask, config.backbone, code_dim, config.grid_side)

    @property
    def n_kept(self) -> int:
        return self.mask.n_kept

    def select(
        self, images: Tensor, importance: Tensor | None = None, generator: torch.Generator | None = None
    ) -> KeptRegions:
        return self.mask(self.encoder(images), importance, generator)

    def restore(self, regions: Tensor, positions: Tensor) -> Tensor:
        return self.decoder(self.demask(regions, positions))


class PlainVQ(TokenModel):
    """The unmasked baseline: VQGAN's model, a code for every region."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, has_head=True)
        self.project_in = nn.Linear(config.backbone.feature_dim, config.quantizer.code_dim)
        self.project_out = nn.Linear(config.quantizer.code_dim, config.backbone.feature_dim)

    def select(
        self, images: Tensor, importance: Tensor | None = None, generator: torch.Generator | None = None
    ) -> KeptRegions:
        regions = self.project_in(self.encoder(images).flatten(2).transpose(1, 2))
        everywhere = torch.ones(regions.shape[:2], device=images.device)
        positions = torch.arange(self.n_positions, device=images.device).expand(len(images), -1)
        return KeptRegions(regions, positions, everywhere, everywhere.bool())

    def restore(self, regions: Tensor, positions: Tensor) -> Tensor:
        in_place = torch.empty_like(regions).scatter(1, positions.unsqueeze(-1).expand_as(regions), regions)
        features = self.project_out(in_place).transpose(1, 2)
        return self.decoder(features.unflatten(2, (self.side, self.side)))


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
        silence_branches(model)
    return model


def quickest_layout(device: torch.device) -> torch.memory_format:
    """How a stage-1 model's weights should lie for training on `device`.

    Channels last makes a step a fifth faster on CPUs. On an H100 it made that of `ffhq256` a seventh slower,
    in float32 and in bfloat16 alike (results/gpu).
    """
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format
