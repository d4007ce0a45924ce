"""The sizes of the authors' models, read off their tensors."""

from __future__ import annotations

import math
import re
from typing import Literal

from torch import Tensor

from mvqlab.config import Config, TransformerConfig, config_from_dict
from mvqlab.interop.checkpoint import OfficialCheckpointError, Tensors

FIRST_STAGE = "first_stage_model."  # what stage 2 puts before the names of the stage 1 inside it
STAGE1_SIZES = (
    "encoder.conv_in.weight",
    "encoder.conv_out.weight",
    "masker.pre_projection.weight",
    "quantize.codebook.weight",
)
STAGE2_SIZES = ("transformer.value_emb.weight", "transformer.value_pos_emb.weight", "transformer.pos_emb")
PUBLISHED_HEAD_WIDTH = 64  # channels a head: 1024 / 16


def stage1_settings(tensors: Tensors, mask_ratio: float = 0.75, resolution: int | None = None) -> Config:
    """The settings of the stage 1 in `tensors` (see `read_state_dict`). Raises OfficialCheckpointError."""
    tensors = first_stage(tensors)
    for name in STAGE1_SIZES:
        _must_hold(tensors, name, "stage 1")
    side = grid_side(tensors) if "transformer.value_pos_emb.weight" in tensors else None
    n_levels = count(tensors, r"encoder\.down\.(\d+)\.")
    resolution = resolution or (side * 2 ** (n_levels - 1) if side else 256)
    base = tensors["encoder.conv_in.weight"].shape[0]
    widths = [tensors[f"encoder.down.{level}.block.0.conv1.weight"].shape[0] for level in range(n_levels)]
    attended = attended_levels(tensors)
    return config_from_dict(
        {
            "preset": "official",
            "data": {"resolution": resolution},
            "backbone": {
                "base_channels": base,
                "channel_multipliers": [width // base for width in widths],
                "residual_blocks": count(tensors, r"encoder\.down\.0\.block\.(\d+)\."),
                "attention_resolutions": [resolution // 2**level for level in sorted(attended)],
                "feature_dim": tensors["encoder.conv_out.weight"].shape[0],
            },
            "mask": {"mask_ratio": mask_ratio, "scorer": scorer(tensors)},
            "quantizer": {
                "codebook_size": len(tensors["quantize.codebook.weight"]) - 1,
                "code_dim": tensors["masker.pre_projection.weight"].shape[0],
                "restart": "released",
            },
            "demask": {"layers": count(tensors, r"demasker\.transformer\.blocks\.(\d+)\.")},
        }
    )


def stage2_settings(
    tensors: Tensors,
    heads: int | None = None,
    first: Literal["code", "position"] = "code",
    n_classes: int | None = None,
) -> TransformerConfig:
    """The settings of the stage 2 in `tensors` (see `read_state_dict`). Raises OfficialCheckpointError."""
    for name in STAGE2_SIZES:
        _must_hold(tensors, name, "stage 2")
    n_codes, width = tensors["transformer.value_emb.weight"].shape
    codebook = tensors.get(f"{FIRST_STAGE}quantize.codebook.weight")
    if n_classes is None:
        beyond = 1 if codebook is None else n_codes - (len(codebook) - 1)
        n_classes = beyond if beyond > 1 else 0
    if heads is None and width % PUBLISHED_HEAD_WIDTH:
        raise OfficialCheckpointError(
            f"a width of {width} is no multiple of the published {PUBLISHED_HEAD_WIDTH} channels a head, "
            "and no tensor tells the number of heads: give `heads`"
        )
    return TransformerConfig(
        first=first,
        code_layers=count(tensors, r"transformer\.value_transformer\.(\d+)\."),
        position_layers=count(tensors, r"transformer\.position_transformer\.(\d+)\."),
        width=width,
        heads=heads or width // PUBLISHED_HEAD_WIDTH,
        condition="class" if n_classes else "none",
        condition_dropout=0.0,
        block_size=tensors["transformer.pos_emb"].shape[1],
        start_codes=max(1, n_classes),
    )


def holds_stage2(tensors: Tensors) -> bool:
    """Whether a state dict is one of stage 2."""
    return any(name.startswith("transformer.") for name in tensors)


def holds_stage1(tensors: Tensors) -> bool:
    """Whether a state dict is one of stage 1, or one of stage 2 with its stage 1 inside."""
    return not holds_stage2(tensors) or any(name.startswith(FIRST_STAGE) for name in tensors)


def first_stage(tensors: Tensors) -> dict[str, Tensor]:
    """Stage 1's tensors by their own names, and stage 2's position table, which tells the grid."""
    if holds_stage2(tensors):
        inside = {
            name.removeprefix(FIRST_STAGE): tensor
            for name, tensor in tensors.items()
            if name.startswith(FIRST_STAGE)
        }
        table = "transformer.value_pos_emb.weight"
        tensors = {**inside, table: tensors[table]} if inside and table in tensors else inside
    _must_hold(tensors, "encoder.conv_in.weight", "stage 1")
    return dict(tensors)


def _must_hold(tensors: Tensors, name: str, what: str) -> None:
    if name not in tensors:
        some = ", ".join(list(tensors)[:3])
        raise OfficialCheckpointError(
            f"no {what} of the authors' code: '{name}' is missing (there is {some} ...)"
        )


def count(tensors: Tensors, pattern: str) -> int:
    """One more than the largest number that `pattern` finds at the start of a name; 0 without any."""
    return max((int(match[1]) + 1 for name in tensors if (match := re.match(pattern, name))), default=0)


def grid_side(tensors: Tensors) -> int:
    """Side of the grid that stage 2's position table (L + 1 rows) is for. Raises OfficialCheckpointError."""
    n_places = len(tensors["transformer.value_pos_emb.weight"]) - 1
    side = math.isqrt(n_places)
    if side**2 != n_places:
        raise OfficialCheckpointError(f"{n_places} positions do not make a square grid")
    return side


def attended_levels(tensors: Tensors) -> set[int]:
    """The levels of the encoder that hold self-attention; the decoder's are the same."""
    return {int(m[1]) for name in tensors if (m := re.match(r"encoder\.down\.(\d+)\.attn\.", name))}


def scorer(tensors: Tensors) -> Literal["conv", "mlp"]:
    """Which scorer: the first layer has weights in the MLP, and none before the convolutions."""
    return "mlp" if "masker.score_pred_net.0.weight" in tensors else "conv"
