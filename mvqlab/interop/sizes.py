"""The sizes of the authors' models, read off their tensors."""

from __future__ import annotations

import math
import re
from typing import Literal

import torch
from torch import Tensor

from mvqlab.config import Config, TransformerConfig, config_from_dict
from mvqlab.interop.official_file import OfficialCheckpointError, Tensors

FIRST_STAGE = "first_stage_model."  # what stage 2 puts before the names of the stage 1 inside it
POSITIONS = "transformer.value_pos_emb.weight"  # its rows tell the grid of both stages
STAGE1_SIZES = (
    "encoder.conv_in.weight",
    "encoder.down.0.block.0.conv1.weight",
    "encoder.conv_out.weight",
    "masker.pre_projection.weight",
    "quantize.codebook.weight",
)
STAGE2_SIZES = ("transformer.value_emb.weight", POSITIONS, "transformer.pos_emb")
CAUSAL_MASK = re.compile(r"_transformer\.\d+\.attn\.mask$")

# What no tensor tells, in the released configurations (configs/stage1, configs/stage2).
PUBLISHED_MASK_RATIO = 0.75
PUBLISHED_RESOLUTION = 256  # pixels
PUBLISHED_MASK_INIT = 0.02
PUBLISHED_HEAD_WIDTH = 64  # channels a head: 1024 / 16


def stage1_settings(
    tensors: Tensors,
    mask_ratio: float | None = None,
    resolution: int | None = None,
    *,
    mask_init_value: float | None = None,
    reweight: bool | None = None,
) -> Config:
    """The settings of the stage 1 in `tensors` (see `read_state_dict`).

    Arguments as of `load_official_mqvae`. Raises OfficialCheckpointError.
    """
    tensors = first_stage(tensors)
    _check_quantizer(tensors)
    for name in STAGE1_SIZES:
        _must_hold(tensors, name, "stage 1")
    n_levels = count(tensors, r"encoder\.down\.(\d+)\.")
    first_convolutions = [f"encoder.down.{level}.block.0.conv1.weight" for level in range(n_levels)]
    for name in first_convolutions:
        _must_hold(tensors, name, "stage 1")
    resolution = _resolution(tensors, resolution, 2 ** (n_levels - 1))
    n_positions = (resolution // 2 ** (n_levels - 1)) ** 2
    base = tensors["encoder.conv_in.weight"].shape[0]
    return config_from_dict(
        {
            "preset": "official",
            "data": {"resolution": resolution},
            "backbone": {
                "base_channels": base,
                "channel_multipliers": [tensors[name].shape[0] // base for name in first_convolutions],
                "residual_blocks": count(tensors, r"encoder\.down\.0\.block\.(\d+)\."),
                "attention_resolutions": [
                    resolution // 2**level for level in sorted(attended_levels(tensors))
                ],
                "feature_dim": tensors["encoder.conv_out.weight"].shape[0],
            },
            "mask": {
                # the ratio that makes this lab, which rounds, keep as many
                "mask_ratio": 1.0 - official_n_kept(mask_ratio, n_positions) / n_positions,
                "scorer": scorer(tensors),
            },
            "quantizer": {
                "codebook_size": len(tensors["quantize.codebook.weight"]) - 1,
                "code_dim": tensors["masker.pre_projection.weight"].shape[0],
                "restart": "released",
            },
            "demask": {
                "layers": count(tensors, r"demasker\.transformer\.blocks\.(\d+)\."),
                "initial_trust": _initial_trust(mask_init_value),
                "renormalise": bool(reweight),
            },
        }
    )


def stage2_settings(
    tensors: Tensors,
    heads: int | None = None,
    first: Literal["code", "position"] | None = None,
    n_classes: int | None = None,
    order: Literal["raster", "score"] | None = None,
) -> TransformerConfig:
    """The settings of the stage 2 in `tensors` (see `read_state_dict`).

    Arguments as of `load_official_stackformer`. Raises OfficialCheckpointError.
    """
    if "transformer.value_emb.weight" in tensors and "transformer.pos_emb" not in tensors:
        raise OfficialCheckpointError(
            "the stage 2 has no embedding of places in the sequence ('transformer.pos_emb'; "
            "add_absolute_position: false): this lab's transformers always have one"
        )
    for name in STAGE2_SIZES:
        _must_hold(tensors, name, "stage 2")
    _check_masks(tensors)
    n_classes, start_codes = rows_beyond_codes(tensors, n_classes)
    width = tensors["transformer.value_emb.weight"].shape[1]
    return TransformerConfig(
        first=first or "code",
        order=order or "raster",
        code_layers=count(tensors, r"transformer\.value_transformer\.(\d+)\."),
        position_layers=count(tensors, r"transformer\.position_transformer\.(\d+)\."),
        width=width,
        heads=_heads(width, heads),
        condition="class" if n_classes else "none",
        condition_dropout=0.0,
        block_size=tensors["transformer.pos_emb"].shape[1],
        start_codes=start_codes,
    )


def official_n_kept(mask_ratio: float | None, n_positions: int) -> int:
    """N of L positions in the released code, which cuts off where this lab rounds: int(topk_ratio * L).

    modules/masked_quantization/masker_vanilla_refine.py. Raises OfficialCheckpointError.
    """
    mask_ratio = PUBLISHED_MASK_RATIO if mask_ratio is None else mask_ratio
    topk_ratio = round(1.0 - mask_ratio, 14)  # as it was written there: 1 - 0.8 is 0.19999999999999996
    n = int(topk_ratio * n_positions)
    if not 1 <= n <= n_positions:
        raise OfficialCheckpointError(
            f"a mask_ratio of {mask_ratio:g} keeps {n} of {n_positions} regions: give the share that is "
            "dropped, 1 - topk_ratio"
        )
    return n


def rows_beyond_codes(tensors: Tensors, n_classes: int | None) -> tuple[int, int]:
    """Classes of the stage 2 in `tensors`, and rows of its code table beyond the K codes.

    The rows are those of the classes or the one start token, and spare ones. A stage 1 inside tells K;
    without one, all rows but those of `n_classes` are codes. Raises OfficialCheckpointError.
    """
    n_rows = len(tensors["transformer.value_emb.weight"])
    n_codes = codebook_size_inside(tensors)
    if n_codes is None:
        n_classes = n_classes or 0
        beyond = max(1, n_classes)
    else:
        beyond = n_rows - n_codes
        n_classes = (beyond if beyond > 1 else 0) if n_classes is None else n_classes
    if n_classes < 0 or beyond < max(1, n_classes) or beyond >= n_rows:
        codes = "" if n_codes is None else f" for {n_codes} codes"
        raise OfficialCheckpointError(
            f"the code table has {n_rows} rows{codes}, which leaves no room for {n_classes} classes, or one "
            "row to start with: give n_classes as it was trained"
        )
    return n_classes, beyond


def codebook_size_inside(tensors: Tensors) -> int | None:
    """K of the stage 1 inside a state dict of stage 2; None without one."""
    codebook = tensors.get(f"{FIRST_STAGE}quantize.codebook.weight")
    return None if codebook is None else len(codebook) - 1


def holds_masks(tensors: Tensors) -> bool:
    """Whether the causal masks of stage 2 came along: they alone tell `n_unmasked`."""
    return any(CAUSAL_MASK.search(name) for name in tensors)


def _resolution(tensors: Tensors, resolution: int | None, downsampling: int) -> int:
    side = grid_side(tensors) if POSITIONS in tensors else None
    if resolution is None:
        return PUBLISHED_RESOLUTION if side is None else side * downsampling
    if resolution < 1 or resolution % downsampling:
        raise OfficialCheckpointError(
            f"a resolution of {resolution} does not fit: the stage 1 halves images "
            f"{downsampling.bit_length() - 1} times, so their side is a multiple of {downsampling}"
        )
    if side not in (None, resolution // downsampling):
        raise OfficialCheckpointError(
            f"a resolution of {resolution} does not fit: the stage 2 in the checkpoint is for a grid of "
            f"{side} x {side} regions, which is {side * downsampling} pixels a side"
        )
    return resolution


def _initial_trust(mask_init_value: float | None) -> float:
    value = PUBLISHED_MASK_INIT if mask_init_value is None else mask_init_value
    if not 0.0 < value <= 1.0:
        raise OfficialCheckpointError(f"mask_init_value is {value:g}: this lab reads from above 0 to 1")
    return value


def _heads(width: int, heads: int | None) -> int:
    if heads is None and width % PUBLISHED_HEAD_WIDTH:
        raise OfficialCheckpointError(
            f"a width of {width} is no multiple of the published {PUBLISHED_HEAD_WIDTH} channels a head, "
            "and no tensor tells the number of heads: give `heads`"
        )
    heads = width // PUBLISHED_HEAD_WIDTH if heads is None else heads
    if heads < 1 or width % heads:
        raise OfficialCheckpointError(f"{heads} heads do not divide a width of {width}: give another `heads`")
    return heads


def _check_quantizer(tensors: Tensors) -> None:
    """Refuse by its name what is no EMA codebook (modules/vector_quantization/quantize2.py)."""
    others = [name for name in tensors if re.match(r"quantize\.(?!codebook\.)", name)]
    if others:
        some = ", ".join(sorted(others)[:3])
        raise OfficialCheckpointError(
            f"the stage 1 has another quantiser ({some}) than the released MQ-VAE's: only VectorQuantize2, "
            "'quantize.codebook', is read"
        )


def _check_masks(tensors: Tensors) -> None:
    for name, mask in tensors.items():
        if not CAUSAL_MASK.search(name) or mask.is_meta:
            continue
        side = mask.shape[-1]
        if not torch.equal(mask.reshape(-1, side) != 0, torch.ones(side, side).tril() != 0):
            raise OfficialCheckpointError(
                f"'{name}' is no causal mask: the stage 2 was trained with n_unmasked > 0 (its first places "
                "see what comes after them), and this lab's transformers are causal"
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
        tensors = {**inside, POSITIONS: tensors[POSITIONS]} if inside and POSITIONS in tensors else inside
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
    n_places = len(tensors[POSITIONS]) - 1
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
