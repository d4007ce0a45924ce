"""The authors' parameter names for stage 1, in ours; for parity tests only."""

from __future__ import annotations

import re

import torch
from torch import Tensor

NO_INFORMATION = re.compile(r"temb_proj|^loss\.")

RENAMES = [
    (r"\.nin_shortcut\.", ".shortcut."),
    (r"^encoder\.mid\.block_1\.", "encoder.middle.0."),
    (r"^encoder\.mid\.attn_1\.", "encoder.middle.1."),
    (r"^encoder\.mid\.block_2\.", "encoder.middle.2."),
    (r"^masker\.pre_projection\.", "mask.project."),
    (r"^demasker\.post_projection\.", "demask.project."),
    (r"^demasker\.conv_in\.", "demask.conv_in."),
    (r"^demasker\.mask_token$", "demask.mask_token"),
    (r"^demasker\.transformer\.blocks\.(\d+)\.resblock\.", r"demask.residual_blocks.\1."),
    (r"^demasker\.transformer\.blocks\.(\d+)\.attn\.", r"demask.attentions.\1."),
    (r"^demasker\.transformer\.last_resblock\.", "demask.residual_block_out."),
    (r"^quantize\.codebook\.weight$", "quantizer.codebook.codes"),
    (r"^quantize\.codebook\.cluster_size_ema$", "quantizer.codebook.ema_counts"),
    (r"^quantize\.codebook\.embed_ema$", "quantizer.codebook.ema_sums"),
    (r"\.proj_out\.", ".out."),
]
SCORERS = {
    "conv": {1: "conv1", 3: "conv2", 4: "batch_norm"},
    "mlp": {0: "0", 2: "2"},
}


def to_ours(official: dict[str, Tensor], scorer: str, attention_levels: set[int]) -> dict[str, Tensor]:
    """The authors' stage-1 state dict in this project's names and shapes.

    `attention_levels`: the encoder and decoder levels that hold self-attention.
    """
    ours = {}
    n_levels = 1 + max(int(m[1]) for name in official if (m := re.match(r"encoder\.down\.(\d+)", name)))
    for name, tensor in official.items():
        if not NO_INFORMATION.search(name):
            ours[_rename(name, scorer, n_levels, attention_levels)] = tensor
    ours["demask.mask_token"] = ours["demask.mask_token"].flatten()
    ours["quantizer.codebook.codes"] = ours["quantizer.codebook.codes"][:-1]  # the last row is padding
    return _fuse_attention(ours)


def _rename(name: str, scorer: str, n_levels: int, attention_levels: set[int]) -> str:
    if match := re.match(r"masker\.score_pred_net\.(\d+)\.(.*)", name):
        return f"mask.scorer.{SCORERS[scorer][int(match[1])]}.{match[2]}"
    if match := re.match(r"(encoder|decoder)\.(down|up)\.(\d+)\.(block|attn)\.(\d+)\.(.*)", name):
        part, _, level, kind, index, rest = match.groups()
        stride = 2 if int(level) in attention_levels else 1
        place = int(index) * stride + (kind == "attn")
        name = f"{part}.levels.{_depth(part, int(level), n_levels)}.{place}.{rest}"
    elif match := re.match(r"(encoder|decoder)\.(down|up)\.(\d+)\.(?:downsample|upsample)\.(.*)", name):
        part, _, level, rest = match.groups()
        name = f"{part}.levels.{_depth(part, int(level), n_levels)}.SAMPLER.{rest}"
    for pattern, ours in RENAMES:
        name = re.sub(pattern, ours, name)
    return name


def _depth(part: str, level: int, n_levels: int) -> int:
    return level if part == "encoder" else n_levels - 1 - level


def _fuse_attention(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    fused = {}
    for name, tensor in ours.items():
        match = re.match(r"(.*)\.([qkv])\.(weight|bias)$", name)
        if match and match[2] == "q":
            parts = [ours[f"{match[1]}.{letter}.{match[3]}"] for letter in "qkv"]
            fused[f"{match[1]}.query_key_value.{match[3]}"] = torch.cat([_as_linear(part) for part in parts])
        elif match is None and re.search(r"\.out\.weight$", name):
            fused[name] = _as_linear(tensor)
        elif match is None:
            fused[name] = tensor
    return _place_samplers(fused)


def _as_linear(tensor: Tensor) -> Tensor:
    return tensor.flatten(1) if tensor.ndim == 4 else tensor


def _place_samplers(named: dict[str, Tensor]) -> dict[str, Tensor]:
    placed = {}
    for name, tensor in named.items():
        if ".SAMPLER." in name:
            level = name.split(".SAMPLER.")[0]
            inside = {
                int(other[len(level) + 1 :].split(".")[0]) for other in named if _in_level(other, level)
            }
            name = name.replace("SAMPLER", str(max(inside) + 1))
        placed[name] = tensor
    return placed


def _in_level(name: str, level: str) -> bool:
    return name.startswith(f"{level}.") and ".SAMPLER." not in name
