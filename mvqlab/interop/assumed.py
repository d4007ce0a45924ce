"""What no tensor of the authors' checkpoints tells and nobody gave: said, one line a setting.

The names are those of the arguments.
"""

from __future__ import annotations

from typing import Any

from mvqlab.config import Config, TransformerConfig
from mvqlab.interop.official_file import Tensors
from mvqlab.interop.sizes import (
    PUBLISHED_HEAD_WIDTH,
    PUBLISHED_MASK_RATIO,
    codebook_size_inside,
    grid_side,
    holds_masks,
    holds_stage2,
    official_n_kept,
    rows_beyond_codes,
)
from mvqlab.models.masking import n_kept


def assumed_of_stage1(tensors: Tensors, config: Config, given: dict[str, Any]) -> list[str]:
    """Remarks on the stage 1 in `tensors`, as read into `config`; `given`: the arguments, None by default."""
    remarks = _of_mask_ratio(given["mask_ratio"], config.grid_side)
    if given["resolution"] is None and not holds_stage2(tensors):
        remarks.append(f"resolution: taken as the published {config.data.resolution} pixels")
    if given["mask_init_value"] is None:
        remarks.append(f"mask_init_value: taken as the published {config.demask.initial_trust:g}")
    if given["reweight"] is None:
        remarks.append("reweight: taken as off, as published")
    remarks.append(
        f"for training on: commitment_beta {config.quantizer.commitment_weight:g}, decay "
        f"{config.quantizer.ema_decay:g} and no dropout, as published"
    )
    return remarks


def assumed_of_stage2(tensors: Tensors, config: TransformerConfig, given: dict[str, Any]) -> list[str]:
    """Remarks on the stage 2 in `tensors`, as read into `config`; `given`: the arguments, None by default."""
    remarks = _of_mask_ratio(given["mask_ratio"], grid_side(tensors))
    if given["heads"] is None:
        remarks.append(f"heads: taken as {config.heads}, one for each {PUBLISHED_HEAD_WIDTH} channels")
    if given["first"] is None:
        remarks.append(
            "first: taken as code first (ReverseStackedPositionGPT); 'position' has the same tensors"
        )
    if given["order"] is None:
        remarks.append("order: taken as raster (raster_scan_permuter); 'score' has the same tensors")
    remarks += _of_classes(tensors, given["n_classes"])
    if not holds_masks(tensors):
        remarks.append("n_unmasked: taken as 0; the causal masks, which would tell it, are not in the file")
    remarks.append(
        f"for training on: loss_position_weight {config.position_weight:g}, dropout {config.dropout:g}, "
        "as published"
    )
    return remarks


def _of_mask_ratio(mask_ratio: float | None, side: int) -> list[str]:
    n_positions = side**2
    n = official_n_kept(mask_ratio, n_positions)
    if mask_ratio is None:
        return [
            f"mask_ratio: taken as the published {PUBLISHED_MASK_RATIO:g}, {n} of {n_positions} regions kept"
        ]
    rounded = n_kept(mask_ratio, n_positions)
    if rounded != n:
        return [
            f"mask_ratio: {n} of {n_positions} regions are kept, cut off as in the released code; the "
            f"settings say {1.0 - n / n_positions:g}, since {mask_ratio:g} would keep {rounded} here"
        ]
    return []


def _of_classes(tensors: Tensors, given: int | None) -> list[str]:
    n_classes, beyond = rows_beyond_codes(tensors, given)
    n_codes = len(tensors["transformer.value_emb.weight"]) - beyond
    remarks = []
    if codebook_size_inside(tensors) is None and given is None:
        remarks.append(
            f"n_classes: taken as 0, which makes {n_codes} codes; no stage 1 is in the file to tell K, and a "
            "class-conditional model has n_classes - 1 codes fewer"
        )
    elif given is None and n_classes:
        remarks.append(
            f"n_classes: taken as {n_classes}, the rows beyond the {n_codes} codes; spare rows look the same"
        )
    elif given is None:
        remarks.append("n_classes: taken as 0; a single class looks the same")
    spare = beyond - max(1, n_classes)
    if spare:
        start = "" if n_classes else f"; row {n_codes} is taken as sos_token"
        remarks.append(f"{spare} rows of the code table are spare, and never drawn{start}")
    return remarks
