"""The authors' checkpoints, as this lab's models (METHOD: checkpoints of the authors' code).

    mqvae = load_official_mqvae("stage1.ckpt")
    stackformer = load_official_stackformer("stage2.ckpt")

Sizes are read off the tensors. What no tensor tells (how many regions are kept, the image side, heads,
which part of a pair comes first) is an argument with the published value as its default, and the model's
`remarks` say of what the default was taken.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from mvqlab.interop.assumed import assumed_of_stage1, assumed_of_stage2
from mvqlab.interop.names import stage1_tensors, stage2_tensors
from mvqlab.interop.official_file import (
    Checkpoint,
    OfficialCheckpointError,
    Tensors,
    read_state_dict,
    refused_objects,
    strip_checkpoint,
)
from mvqlab.interop.sizes import (
    grid_side,
    holds_stage1,
    holds_stage2,
    official_n_kept,
    rows_beyond_codes,
    stage1_settings,
    stage2_settings,
)
from mvqlab.models.mqvae import MQVAE
from mvqlab.models.stackformer import Stackformer
from mvqlab.models.transformers import build_stage2

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
    checkpoint: Checkpoint,
    *,
    mask_ratio: float | None = None,
    resolution: int | None = None,
    mask_init_value: float | None = None,
    reweight: bool | None = None,
) -> MQVAE:
    """The authors' stage 1 in `checkpoint`, in evaluation mode.

    checkpoint: a path (`torch.save` or safetensors) or a state dict; one of stage 2 holds stage 1 too.
    mask_ratio: share of the regions that is dropped, 1 - topk_ratio (the released configurations keep 0.25 to
    0.30); default: 0.75. N is cut off as in the released code.
    resolution: side of the images, pixels; by default that of stage 2's grid if the checkpoint holds it,
    else 256.
    mask_init_value: what a dropped region is trusted with at first; default: 0.02.
    reweight: whether the de-masker's attention rows sum to one again; default: not.

    `remarks` of the model: what was taken for granted, a line each. Raises OfficialCheckpointError.
    """
    tensors = read_state_dict(checkpoint)
    given: dict[str, Any] = {"mask_ratio": mask_ratio, "resolution": resolution}
    given |= {"mask_init_value": mask_init_value, "reweight": reweight}
    config = stage1_settings(tensors, **given)
    model = _filled(MQVAE(config), stage1_tensors(tensors))
    model.remarks = assumed_of_stage1(tensors, config, given)
    return model


def load_official_stackformer(
    checkpoint: Checkpoint,
    *,
    mask_ratio: float | None = None,
    heads: int | None = None,
    first: Literal["code", "position"] | None = None,
    n_classes: int | None = None,
    order: Literal["raster", "score"] | None = None,
) -> Stackformer:
    """The authors' stage 2 in `checkpoint`, in evaluation mode.

    checkpoint: a path or a state dict. mask_ratio: of its stage 1, which makes the length of the
    sequences that are sampled; default: 0.75. heads: by default one for each 64 channels, as published.
    first: which part of a pair its lower transformer predicts; both kinds use the same names; default: code.
    n_classes: by default told from the codebook of the stage 1 inside the checkpoint; without one, 0.
    order: of the pairs in a sequence, by position or by score (raster_scan_permuter or identity_permuter);
    default: raster.

    The authors' class tokens, which stand before their codes, get a table of their own, and rows beyond
    the K codes; samplers never draw them.
    `remarks` of the model: what was taken for granted, a line each. Raises OfficialCheckpointError.
    """
    tensors = read_state_dict(checkpoint)
    stage2: dict[str, Any] = {"heads": heads, "first": first, "n_classes": n_classes, "order": order}
    config = stage2_settings(tensors, **stage2)
    n_classes, _ = rows_beyond_codes(tensors, n_classes)
    side = grid_side(tensors)
    n_pairs = official_n_kept(mask_ratio, side**2)
    if n_pairs > config.block_size:
        raise OfficialCheckpointError(
            f"the stage 2 reads {config.block_size} pairs at most (block_size), and an image has {n_pairs}: "
            "give the mask_ratio that it was trained with"
        )
    model = build_stage2(
        config,
        codebook_size=len(tensors["transformer.value_emb.weight"]) - config.start_codes,
        side=side,
        n_pairs=n_pairs,
        n_classes=n_classes,
    )
    model = _filled(model, stage2_tensors(tensors, n_classes))
    model.remarks = assumed_of_stage2(tensors, config, {"mask_ratio": mask_ratio, **stage2})
    return model


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
    faults += [f"not finite: {name}" for name, tensor in sorted(tensors.items()) if not _is_finite(tensor)]
    if faults:
        more = [f"... and {len(faults) - 20} more"] if len(faults) > 20 else []
        lines = "\n  ".join(faults[:20] + more)
        raise OfficialCheckpointError(f"the checkpoint holds no sound model of the authors' code:\n  {lines}")
    model.load_state_dict(tensors)
    return model.eval()


def _is_finite(tensor: Tensor) -> bool:
    return tensor.is_meta or bool(tensor.isfinite().all())
