"""The authors' checkpoints, as this lab's models (METHOD: checkpoints of the authors' code).

    mqvae = load_official_mqvae("stage1.ckpt")
    stackformer = load_official_stackformer("stage2.ckpt")

Sizes are read off the tensors. What no tensor tells (how many regions are kept, the image side, heads,
which part of a pair comes first) is an argument with the published value as its default.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

from mvqlab.interop.checkpoint import (
    Checkpoint,
    OfficialCheckpointError,
    Tensors,
    read_state_dict,
    refused_objects,
    strip_checkpoint,
)
from mvqlab.interop.names import stage1_tensors, stage2_tensors
from mvqlab.interop.sizes import grid_side, holds_stage1, holds_stage2, stage1_settings, stage2_settings
from mvqlab.models.masking import n_kept
from mvqlab.models.mqvae import MQVAE
from mvqlab.models.stackformer import Stackformer
from mvqlab.models.stage2 import build_stage2

__all__ = [
    "OfficialCheckpointError",
    "holds_stage1",
    "holds_stage2",
    "load_official_mqvae",
    "load_official_stackformer",
    "read_state_dict",
    "refused_objects",
    "stage1_settings",
    "stage2_settings",
    "strip_checkpoint",
]


def load_official_mqvae(
    checkpoint: Checkpoint, *, mask_ratio: float = 0.75, resolution: int | None = None
) -> MQVAE:
    """The authors' stage 1 in `checkpoint`, in evaluation mode.

    checkpoint: a path (`torch.save` or safetensors) or a state dict; one of stage 2 holds stage 1 too.
    mask_ratio: share of the regions that is dropped (the released configurations keep 0.25 to 0.30).
    resolution: side of the images, pixels; by default that of stage 2's grid if the checkpoint holds it,
    else 256.

    Raises OfficialCheckpointError.
    """
    tensors = read_state_dict(checkpoint)
    return _filled(MQVAE(stage1_settings(tensors, mask_ratio, resolution)), stage1_tensors(tensors))


def load_official_stackformer(
    checkpoint: Checkpoint,
    *,
    mask_ratio: float = 0.75,
    heads: int | None = None,
    first: Literal["code", "position"] = "code",
    n_classes: int | None = None,
) -> Stackformer:
    """The authors' stage 2 in `checkpoint`, in evaluation mode.

    checkpoint: a path or a state dict. mask_ratio: of its stage 1, which makes the length of the
    sequences that are sampled. heads: by default one for each 64 channels, as published. first: which
    part of a pair its lower transformer predicts; both kinds use the same names. n_classes: by default
    told from the codebook of the stage 1 inside the checkpoint; without one, 0.

    The authors' class tokens, which stand before their codes, get a table of their own, and rows beyond
    the K codes; samplers never draw them.
    Raises OfficialCheckpointError.
    """
    tensors = read_state_dict(checkpoint)
    config = stage2_settings(tensors, heads, first, n_classes)
    side = grid_side(tensors)
    model = build_stage2(
        config,
        codebook_size=len(tensors["transformer.value_emb.weight"]) - config.start_codes,
        side=side,
        n_pairs=min(n_kept(mask_ratio, side**2), config.block_size),
        n_classes=config.start_codes,
    )
    return _filled(model, stage2_tensors(tensors, model.codebook_size, config.condition == "class"))


def _filled(model: nn.Module, tensors: Tensors) -> Any:
    """`model` with `tensors`, all of them and no others, in evaluation mode."""
    expected = model.state_dict()
    faults = [f"unknown: {name}" for name in sorted(set(tensors) - set(expected))]
    faults += [f"missing: {name}" for name in sorted(set(expected) - set(tensors))]
    faults += [
        f"{name} is {tuple(tensors[name].shape)}, where {tuple(expected[name].shape)} fits the rest"
        for name in sorted(set(tensors) & set(expected))
        if tensors[name].shape != expected[name].shape
    ]
    if faults:
        more = [f"... and {len(faults) - 20} more"] if len(faults) > 20 else []
        lines = "\n  ".join(faults[:20] + more)
        raise OfficialCheckpointError(f"the checkpoint is of another model than the authors':\n  {lines}")
    model.load_state_dict(tensors)
    return model.eval()
