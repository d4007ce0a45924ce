"""The authors' parameter names, in this lab's."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from mvqlab.interop.official_file import OfficialCheckpointError, Tensors
from mvqlab.interop.sizes import FIRST_STAGE, POSITIONS, attended_levels, count, first_stage, scorer

Rules = Sequence[tuple[str, str]]

# Without information: a projection that no input reaches, training losses with their networks, causal masks.
SKIPPED = re.compile(r"\.temb_proj\.|^loss\.|_transformer\.\d+\.attn\.mask$")

STAGE1_RULES: Rules = [
    (r"\.nin_shortcut\.", ".shortcut."),
    (r"^encoder\.mid\.block_1\.", "encoder.middle.0."),
    (r"^encoder\.mid\.attn_1\.", "encoder.middle.1."),
    (r"^encoder\.mid\.block_2\.", "encoder.middle.2."),
    (r"^masker\.pre_projection\.", "mask.project."),
    (r"^demasker\.post_projection\.", "demask.project."),
    (r"^demasker\.(conv_in\.|mask_token$)", r"demask.\1"),
    (r"^demasker\.transformer\.blocks\.(\d+)\.resblock\.", r"demask.residual_blocks.\1."),
    (r"^demasker\.transformer\.blocks\.(\d+)\.attn\.", r"demask.attentions.\1."),
    (r"^demasker\.transformer\.last_resblock\.", "demask.residual_block_out."),
    (r"^quantize\.codebook\.weight$", "quantizer.codebook.codes"),
    (r"^quantize\.codebook\.cluster_size_ema$", "quantizer.codebook.ema_counts"),
    (r"^quantize\.codebook\.embed_ema$", "quantizer.codebook.ema_sums"),
    (r"\.proj_out\.", ".out."),
]
CONV_SCORER_RULES: Rules = [
    (r"^masker\.score_pred_net\.1\.", "mask.scorer.conv1."),
    (r"^masker\.score_pred_net\.3\.", "mask.scorer.conv2."),
    (r"^masker\.score_pred_net\.4\.", "mask.scorer.batch_norm."),
]
MLP_SCORER_RULES: Rules = [(r"^masker\.score_pred_net\.", "mask.scorer.")]
STAGE2_RULES: Rules = [
    (r"^transformer\.pos_emb$", "place_embedding"),
    (r"^transformer\.value_pos_emb\.", "position_embedding."),
    (r"^transformer\.value_emb\.", "code_embedding."),
    (r"^transformer\.value_transformer\.", "code_transformer.blocks."),
    (r"^transformer\.position_transformer\.", "position_transformer.blocks."),
    (r"^transformer\.value_head\.", "code_head."),
    (r"^transformer\.position_head\.", "position_head."),
    (r"\.ln(\d)\.", r".norm\1."),
    (r"\.attn\.proj\.", ".attention.out."),
    (r"\.attn\.(query|key|value)\.", r".attention.\1."),
]


def stage1_tensors(tensors: Tensors) -> dict[str, Tensor]:
    """Stage 1's tensors in the names and shapes of `MQVAE`. Raises OfficialCheckpointError."""
    tensors = first_stage(tensors)
    tensors.pop(POSITIONS, None)
    scorer_rules = CONV_SCORER_RULES if scorer(tensors) == "conv" else MLP_SCORER_RULES
    n_levels = count(tensors, r"encoder\.down\.(\d+)\.")
    n_blocks = count(tensors, r"encoder\.down\.0\.block\.(\d+)\.")
    attended = attended_levels(tensors)
    ours = {}
    for name, tensor in tensors.items():
        if not SKIPPED.search(name):
            placed = _in_level(name, n_levels, n_blocks, attended)
            ours[_renamed(placed, [*scorer_rules, *STAGE1_RULES])] = tensor
    ours = _fused(ours, ("q", "k", "v"))
    if "demask.mask_token" in ours:
        ours["demask.mask_token"] = ours["demask.mask_token"].flatten()
    codes = ours["quantizer.codebook.codes"] = ours["quantizer.codebook.codes"][:-1]  # then a padding row
    # a checkpoint for inference may come without the moving averages
    ours.setdefault("quantizer.codebook.ema_counts", torch.ones(len(codes)))
    ours.setdefault("quantizer.codebook.ema_sums", codes.clone())
    return {name: _as_linear(name, tensor) for name, tensor in ours.items()}


def stage2_tensors(tensors: Tensors, n_classes: int) -> dict[str, Tensor]:
    """Stage 2's tensors in the names and shapes of `Stackformer`; `n_classes` tokens become its class table.

    In the authors' class-conditional model classes come first and codes are counted from behind them
    (models/stage2_masked/stackformer_class.py: ``z_indices += self.n_classes``); here codes come first.

    Raises OfficialCheckpointError.
    """
    kept = {
        name: tensor
        for name, tensor in tensors.items()
        if not name.startswith(FIRST_STAGE) and not SKIPPED.search(name)
    }
    ours = {_renamed(name, STAGE2_RULES): tensor for name, tensor in kept.items()}
    ours = _fused(ours, ("query", "key", "value"))
    if "place_embedding" in ours:
        ours["place_embedding"] = ours["place_embedding"][0]
    if n_classes:
        ours["start.classes.weight"] = ours["code_embedding.weight"][:n_classes]
        for name in ("code_embedding.weight", "code_head.1.weight"):
            if name in ours:
                ours[name] = ours[name].roll(-n_classes, dims=0)
    return ours


def _in_level(name: str, n_levels: int, n_blocks: int, attended: set[int]) -> str:
    """A name in a level of encoder or decoder: there blocks, attentions and the sampler stand in one row."""
    pattern = r"(encoder|decoder)\.(?:down|up)\.(\d+)\.(block|attn|downsample|upsample)\.(?:(\d+)\.)?(.*)"
    match = re.match(pattern, name)
    if match is None:
        return name
    part, level, kind, index, rest = match[1], int(match[2]), match[3], int(match[4] or 0), match[5]
    stride = 2 if level in attended else 1
    in_row = n_blocks if part == "encoder" else n_blocks + 1
    place = in_row * stride if kind.endswith("sample") else index * stride + (kind == "attn")
    return f"{part}.levels.{level if part == 'encoder' else n_levels - 1 - level}.{place}.{rest}"


def _renamed(name: str, rules: Rules) -> str:
    for pattern, ours in rules:
        name = re.sub(pattern, ours, name)
    return name


def _fused(tensors: Tensors, parts: tuple[str, str, str]) -> dict[str, Tensor]:
    """Three projections, named by `parts`, as the one of query, key and value."""
    ours = {}
    for name, tensor in tensors.items():
        match = re.match(rf"(.*)\.({'|'.join(parts)})\.(weight|bias)$", name)
        if match is None:
            ours[name] = tensor
        elif match[2] == parts[0]:
            names = [f"{match[1]}.{part}.{match[3]}" for part in parts]
            if not set(names) <= set(tensors):
                raise OfficialCheckpointError(f"'{name}' has no partners for {' and '.join(parts[1:])}")
            ours[f"{match[1]}.query_key_value.{match[3]}"] = torch.cat([tensors[one] for one in names])
    return ours


def _as_linear(name: str, tensor: Tensor) -> Tensor:
    """Attention's 1x1 convolutions are linear layers here."""
    return tensor.flatten(1) if re.search(r"\.(query_key_value|out)\.weight$", name) else tensor
