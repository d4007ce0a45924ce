"""The authors' checkpoints written as runs of this lab, to be loaded like any other."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mvqlab.config import Config
from mvqlab.interop import (
    OfficialCheckpointError,
    holds_stage1,
    holds_stage2,
    load_official_mqvae,
    load_official_stackformer,
    stage1_settings,
    stage2_settings,
)
from mvqlab.interop.official_file import Tensors
from mvqlab.support.files import check_nothing_in_the_way
from mvqlab.training.checkpoint import WEIGHTS
from mvqlab.training.run_settings import save_settings
from mvqlab.training.weights import save_weights


class ImportedRuns(list[Path]):
    """The folders that were written. `remarks`: what was taken for granted, a line each."""

    def __init__(self, folders: Iterable[Path], remarks: Iterable[str]) -> None:
        super().__init__(folders)
        self.remarks = list(remarks)


def import_official(
    tensors: Tensors,
    folder: Path,
    *,
    mask_ratio: float | None = None,
    resolution: int | None = None,
    mask_init_value: float | None = None,
    reweight: bool | None = None,
    **stage2: Any,
) -> ImportedRuns:
    """Write the stages in `tensors` to `folder`/stage1 and /stage2, as training would; returns both.

    Arguments as in the loaders, those of stage 2 by name. Nothing is written unless all of it fits, nor where
    a run stands already. What was taken for granted is returned and stands in the header of the weights.
    Raises OfficialCheckpointError, InTheWayError.
    """
    stage1: dict[str, Any] = {
        "resolution": resolution,
        "mask_init_value": mask_init_value,
        "reweight": reweight,
    }
    models: dict[str, tuple[Config, Any]] = {}
    if holds_stage1(tensors):
        config = stage1_settings(tensors, mask_ratio, **stage1)
        models["stage1"] = config, load_official_mqvae(tensors, mask_ratio=mask_ratio, **stage1)
    else:
        _check_not_given(stage1, "stage 1")
    if holds_stage2(tensors):
        config, _ = models.get("stage1", (Config(preset="official"), None))
        config = config.model_copy(update={"transformer": stage2_settings(tensors, **stage2)})
        models["stage2"] = config, load_official_stackformer(tensors, mask_ratio=mask_ratio, **stage2)
    else:
        _check_not_given(stage2, "stage 2")
    for name in models:
        check_nothing_in_the_way(folder / name, "name another folder for what is imported")
    for name, (config, model) in models.items():
        notes: dict[str, Any] = {"source": "official checkpoint", "remarks": model.remarks}
        save_settings(config, folder / name)
        save_weights(model, folder / name / WEIGHTS, **notes)
    said = [f"{name}: {remark}" for name, (_, model) in models.items() for remark in model.remarks]
    return ImportedRuns((folder / name for name in models), said)


def _check_not_given(settings: dict[str, Any], stage: str) -> None:
    given = [name for name, value in settings.items() if value is not None]
    if given:
        raise OfficialCheckpointError(f"{', '.join(given)}: of {stage}, which the checkpoint does not hold")
