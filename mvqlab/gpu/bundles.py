"""Runs of planned models packed into a few tar files, with weights in half precision."""

from __future__ import annotations

import io
import tarfile
import time
from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor

from mvqlab.gpu.plan import PLAN
from mvqlab.models.caption_tokenizer import FILE_NAME as CAPTIONS
from mvqlab.support.files import whole_file
from mvqlab.training.checkpoint import WEIGHTS


def bundle(folder: Path, bundles: Path, group: str) -> Path:
    """The runs of `group` in `folder` as `bundles`/GROUP.tar, with weights in half precision."""
    with whole_file(bundles / f"{group}.tar") as temporary, tarfile.open(temporary, "w") as archive:
        for name in (planned.name for planned in PLAN if planned.group == group):
            for file in ("config.yaml", "curves.csv", CAPTIONS):
                if (folder / name / file).exists():
                    archive.add(folder / name / file, arcname=f"{name}/{file}")
            weights = folder / name / WEIGHTS
            if weights.exists():
                _add_bytes(archive, f"{name}/{weights.name}", save(_halved(load_file(weights))))
    return bundles / f"{group}.tar"


def _halved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = len(content), int(time.time())
    archive.addfile(entry, io.BytesIO(content))
