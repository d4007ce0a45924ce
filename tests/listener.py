"""Models of which it is known how often they draw the class that they are told, and who sees which it is."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from tiny_runs import KINDS, tiny, tiny_stage1
from torch import Tensor

from mvqlab.data.shapes import SHAPE_NAMES
from mvqlab.evaluation.attributes.agreement import JUDGED, Values, asked_of
from mvqlab.evaluation.attributes.detector import AttributeDetector
from mvqlab.evaluation.attributes.network import AttributeNetwork
from mvqlab.models.mqvae import TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs
from mvqlab.training import build_transformer
from mvqlab.training.run_settings import save_settings
from mvqlab.training.weights import save_weights

N_CLASSES = len(SHAPE_NAMES)
STRENGTH = 1.5  # by how much the logit of the class that is told is above the others
LISTENER = [
    *KINDS["raster"],
    "transformer.match_parameters=false",
    "transformer.condition=class",
    "transformer.condition_dropout=0.2",
    f"quantizer.codebook_size={N_CLASSES}",
    f"transformer.width={2 * N_CLASSES}",
]


def share_right(guidance: float) -> float:
    """How often a class is drawn that was asked for: the others' logits stay alike, as do all of nobody's."""
    return 1.0 / (1.0 + (N_CLASSES - 1) * math.exp(-STRENGTH * guidance))


def listener(*changes: str) -> tuple[PairModel, TokenModel]:
    """A raster transformer whose first code is likely to be the class, and all others are as the first.

    Its layers add nothing; classes and codes are read as one-hot vectors, the null condition as zeros.
    """
    stage1 = tiny_stage1(*LISTENER, *changes)
    stage1.initialise_codebook(torch.randn(8, 3, 16, 16))
    model = build_transformer(tiny(*LISTENER, *changes), stage1, N_CLASSES).eval()
    one, none = torch.eye(N_CLASSES), torch.zeros(1, 2 * N_CLASSES)
    width = 2 * N_CLASSES
    high, low = math.sqrt(width - 1), -1 / math.sqrt(width - 1)  # a one-hot vector after a LayerNorm
    with torch.no_grad():
        for parameter in model.transformer.parameters():
            parameter.zero_()
        model.start.classes.weight.copy_(torch.cat([torch.cat([one, 0 * one], dim=1), none]))
        model.code_embedding.weight.copy_(torch.cat([torch.cat([0 * one, one], dim=1), none]))
        heard = torch.cat([STRENGTH / (high - low) * one, 50.0 * one], dim=1)
        model.code_head[1].weight.copy_(torch.cat([heard, none]))
    return model, stage1


def write_listener(folder: Path, *changes: str) -> tuple[Path, Path]:
    """Folders of stage 1 and stage 2 of a `listener`, as training leaves them."""
    stage2, stage1 = listener(*changes)
    for run, model in ((folder / "stage1", stage1), (folder / "stage2", stage2)):
        save_settings(tiny(*LISTENER, *changes), run)
        save_weights(model, run / "weights.safetensors")
    return folder / "stage1", folder / "stage2"


class Onlooker(AttributeDetector):
    """Knows the picture that `stage1` makes of each class's code: the nearest one is what it finds."""

    def __init__(self, stage1: TokenModel) -> None:
        super().__init__(AttributeNetwork(), 0, dict.fromkeys(JUDGED, 0.9))
        codes = torch.arange(N_CLASSES)[:, None].expand(-1, stage1.n_positions)
        positions = torch.arange(stage1.n_positions).expand_as(codes)
        with torch.no_grad():
            self.pictures = stage1.decode(Pairs(codes, positions, stage1.side))

    def forward(self, images: Tensor, batch_size: int = 256) -> Values:
        """As in `AttributeDetector`; nothing but the class is found."""
        if images.dtype == torch.uint8:
            images = images.float() / 127.5 - 1.0
        sizes = {name: one.shape[1] for name, one in asked_of([]).items()}
        found = {name: torch.zeros(len(images), n, dtype=torch.bool) for name, n in sizes.items()}
        nearest = torch.cdist(images.flatten(1), self.pictures.flatten(1)).argmin(dim=1)
        found["class"][torch.arange(len(images)), nearest] = True
        return found
