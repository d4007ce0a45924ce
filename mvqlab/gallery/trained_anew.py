"""How soon pictures are good: kept tables of trainings that `mvqlab bench quality` watches."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from mvqlab.bench import quality
from mvqlab.gallery.asked import Asked
from mvqlab.support.files import temporary_folder

QUALITY: dict[str, dict[str, Any]] = {
    "quality_fashion": {
        "presets": ["fashion32"],
        "only": ["recipe"],
        "seconds": 600.0,
        "overrides": [
            "mask.recipe=paper",
            "stage1.steps=1000",
            "stage2.steps=700",
            "stage2.optimiser=muon",
            "stage2.learning_rate=4e-3",
            "data.train_size=20000",
        ],
    },
    "quality_simple": {
        "presets": ["simple32"],
        "seconds": 300.0,
        "overrides": [
            "mask.recipe=paper",
            "stage1.steps=1250",
            "stage2.steps=690",
            "stage2.optimiser=muon",
            "stage2.learning_rate=5e-3",
            "data.train_size=10000",
        ],
    },
}
LOOKS = 10


def make_quality(name: str, asked: Asked) -> list[Path]:
    """Train as `QUALITY` says of `name`, watched, and write `name`.csv, a row a look."""
    path = asked.folder / f"{name}.csv"
    with temporary_folder(asked.folder) as folder:
        quality.main(**QUALITY[name], folder=folder, looks=LOOKS, n_samples=asked.at_most(quality.N_SAMPLES))
        shutil.move(folder / "quality.csv", path)
    return [path]
