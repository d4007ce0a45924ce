"""A peer's pieces on the same data: VectorQuantize of vector-quantize-pytorch, GPT-2 of transformers.

The autoencoder has the shape and the settings of that package's Fashion-MNIST example: two 3 x 3 convolutions
with pooling down to a quarter of the side, 32 channels, 256 codes; AdamW at a rate of 3e-4, 256 images a
step, L1 and ten times the commitment loss, 1,000 steps. GPT-2 is as wide and as deep as the transformer that
it stands beside, and is trained with the same batches, rates and averaged weights. Needs the `bench` extra.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvqlab.bench.gpt2 import build_gpt2, generate
from mvqlab.config import Config
from mvqlab.data import PictureDataset, Splits, batch_indices, batches, batches_in_order
from mvqlab.training.average import WeightAverage
from mvqlab.training.loop import OnModel
from mvqlab.training.schedule import learning_rate, set_learning_rate

N_CODES, CODE_DIM = 256, 32
STEPS, BATCH_SIZE, LEARNING_RATE, COMMITMENT = 1000, 256, 3e-4, 10.0
LOOK_EVERY = 10  # steps


class PeerAutoencoder(nn.Module):
    """Images (B, 3, H, W) to a grid of codes at a quarter of the side, and back."""

    def __init__(self, n_codes: int = N_CODES) -> None:
        from vector_quantize_pytorch import VectorQuantize

        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.MaxPool2d(2),
            nn.GELU(),
            nn.Conv2d(16, CODE_DIM, 3, padding=1),
            nn.MaxPool2d(2),
        )
        self.quantizer = VectorQuantize(dim=CODE_DIM, codebook_size=n_codes, accept_image_fmap=True)
        self.decoder = nn.Sequential(
            nn.Upsample(scale_factor=2),
            nn.Conv2d(CODE_DIM, 16, 3, padding=1),
            nn.GELU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(16, 3, 3, padding=1),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) as they come back, and the commitment loss ()."""
        quantised, _, commitment = self.quantizer(self.encoder(images))
        return self.decoder(quantised).clamp(-1.0, 1.0), commitment.sum()

    def encode(self, images: Tensor) -> Tensor:
        """Codes (B, L) in raster order. The codebook stays as it is in evaluation mode."""
        return self.quantizer(self.encoder(images))[1].flatten(1)

    def decode(self, codes: Tensor) -> Tensor:
        """Images (B, 3, H, W) from codes (B, L) of a square grid."""
        side = round(codes.shape[1] ** 0.5)
        vectors = self.quantizer.get_codes_from_indices(codes.unflatten(1, (side, side)))  # (B, d, h, w)
        return self.decoder(vectors).clamp(-1.0, 1.0)


def train_peer_stage1(
    splits: Splits,
    seed: int,
    on_model: OnModel,
    steps: int = STEPS,
    batch_size: int = BATCH_SIZE,
    n_codes: int = N_CODES,
) -> PeerAutoencoder:
    """The autoencoder after `steps`; `on_model` as in `train_stage1`."""
    torch.manual_seed(seed)
    model = PeerAutoencoder(n_codes)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    stream = batches(splits.train, batch_size, seed=seed)
    for step in range(1, steps + 1):
        images = next(stream).images
        made, commitment = model(images)
        loss = F.l1_loss(made, images) + COMMITMENT * commitment
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % LOOK_EVERY == 0 or step == steps:
            on_model(step, model.eval())
            model.train()
    return model.eval()


class PeerTransformer(nn.Module):
    """GPT-2 over a token for the class and L codes; `no_class` stands where the class is withheld."""

    def __init__(self, config: Config, n_codes: int, n_classes: int, length: int) -> None:
        super().__init__()
        sizes = config.transformer
        self.n_codes, self.length, self.no_class = n_codes, length, n_codes + n_classes
        self.gpt2: Any = build_gpt2(
            self.no_class + 1,
            length + 1,
            width=sizes.width,
            layers=sizes.code_layers + sizes.position_layers,
            heads=sizes.heads,
            padding=self.no_class,
            dropout=sizes.dropout,
        )

    def forward(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy () of codes (B, L), given labels (B,) of which -1 are withheld."""
        first = torch.where(labels < 0, self.no_class, labels + self.n_codes)
        tokens = torch.cat([first[:, None], codes], dim=1)
        read = tokens[:, :-1]
        logits = self.gpt2(read, attention_mask=torch.ones_like(read)).logits[..., : self.n_codes]
        return F.cross_entropy(logits.flatten(0, 1), codes.flatten())

    @torch.no_grad()
    def draw(self, labels: Tensor, guidance: float) -> Tensor:
        """Codes (B, L) of the classes `labels` (B,), unfiltered, by transformers' own `generate`."""
        start = (labels + self.n_codes)[:, None]
        others = list(range(self.n_codes, self.no_class + 1))
        guided: dict[str, Any] = {}
        if guidance != 1.0:
            guided = {
                "guidance_scale": guidance,
                "negative_prompt_ids": torch.full_like(start, self.no_class),
                "negative_prompt_attention_mask": torch.ones_like(start),
            }
        unfiltered: dict[str, Any] = {"top_k": 0, "top_p": 1.0, "suppress_tokens": others}
        tokens = generate(self.gpt2, start, self.length, **unfiltered, **guided)
        return tokens[:, 1:]


def train_peer_stage2(
    config: Config, stage1: PeerAutoencoder, splits: Splits, on_model: OnModel
) -> PeerTransformer:
    """GPT-2 on the codes of `stage1`, trained as `config.stage2` says; `on_model` as in `train_stage2`."""
    options = config.stage2
    codes, labels = _encoded(stage1, splits.train)
    torch.manual_seed(config.seed)
    model = PeerTransformer(config, stage1.quantizer.codebook_size, splits.n_classes, codes.shape[1])
    average = WeightAverage(model, options.weight_average)
    optimiser = torch.optim.AdamW(
        model.parameters(),
        lr=options.learning_rate,
        betas=options.betas,
        weight_decay=options.weight_decay,
    )
    rows = _rows(len(codes), options.batch_size, config.seed)
    for step in range(options.steps):
        set_learning_rate(optimiser, learning_rate(step, options))
        mine = next(rows)
        is_withheld = torch.rand(len(mine)) < config.transformer.condition_dropout
        loss = model(codes[mine], labels[mine].masked_fill(is_withheld, -1))
        optimiser.zero_grad()
        loss.backward()
        if options.gradient_clip > 0.0:
            nn.utils.clip_grad_norm_(model.parameters(), options.gradient_clip)
        optimiser.step()
        average.update()
        if (step + 1) % LOOK_EVERY == 0 or step + 1 == options.steps:
            on_model(step + 1, average.model.eval())
            model.train()
    return average.model.eval()


@torch.no_grad()
def _encoded(stage1: PeerAutoencoder, dataset: PictureDataset) -> tuple[Tensor, Tensor]:
    """Codes (n, L) and labels (n,) of all images."""
    found = [(stage1.encode(batch.images), batch.labels) for batch in batches_in_order(dataset, 256)]
    codes, labels = zip(*found, strict=True)
    return torch.cat(codes), torch.cat(labels)


def _rows(n: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    return (torch.tensor(batch_indices(n, batch_size, seed, number)) for number in count())
