"""The authors' checkpoints written as runs of this lab, to be loaded like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from mvqlab.config import Config
from mvqlab.files import check_nothing_in_the_way
from mvqlab.interop import (
    holds_stage1,
    holds_stage2,
    load_official_mqvae,
    load_official_stackformer,
    stage1_settings,
    stage2_settings,
)
from mvqlab.interop.checkpoint import Tensors
from mvqlab.training.checkpoint import save_settings, save_weights


def import_official(
    tensors: Tensors, folder: Path, *, mask_ratio: float = 0.75, resolution: int | None = None, **stage2: Any
) -> list[Path]:
    """Write the stages in `tensors` to `folder`/stage1 and /stage2, as training would; returns both.

    Arguments as in the loaders, those of stage 2 by name. Nothing is written unless all of it fits, nor where
    a run stands already. Raises OfficialCheckpointError, InTheWayError.
    """
    models: dict[str, tuple[Config, nn.Module]] = {}
    if holds_stage1(tensors):
        config = stage1_settings(tensors, mask_ratio, resolution)
        models["stage1"] = config, load_official_mqvae(tensors, mask_ratio=mask_ratio, resolution=resolution)
    if holds_stage2(tensors):
        config, _ = models.get("stage1", (Config(preset="official"), None))
        config = config.model_copy(update={"transformer": stage2_settings(tensors, **stage2)})
        models["stage2"] = config, load_official_stackformer(tensors, mask_ratio=mask_ratio, **stage2)
    for name in models:
        check_nothing_in_the_way(folder / name, "name another folder for what is imported")
    for name, (config, model) in models.items():
        save_settings(config, folder / name)
        save_weights(model, folder / name / "weights.safetensors", source="official checkpoint")
    return [folder / name for name in models]
