"""Whether what a grid's points will ask for is on this machine: images, captions, pretrained weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mvqlab.config import (
    DataConfig,
    config_from_dict,
)
from mvqlab.grid.points import Point
from mvqlab.grid.spec import Grid, report_faults
from mvqlab.support.pretrained import MissingWeightsError, require_all


def check_needs(grid: Grid, points: Sequence[Point]) -> None:
    """Check that the data and the pretrained weights which `points` will ask for are on this machine.

    Raises GridError, naming all that is missing.
    """
    # points differ in seeds and sizes; few differ in what these sections ask for
    asking = ("data", "loss", "evaluation")
    different = {
        json.dumps([point.config[part] for part in asking]): point for point in points if point.config
    }
    faults = []
    for config in [config_from_dict(point.config) for point in different.values()]:
        faults += _faults_of_data(config.data, grid.notebook.parent)
        try:
            require_all(config)
        except MissingWeightsError as error:
            faults += error.missing
    report_faults(grid.path, list(dict.fromkeys(faults)))


def _faults_of_data(data: DataConfig, folder: Path) -> list[str]:
    """What is missing of a run's images; the notebook runs in `folder`, where relative paths begin."""
    root = data.root and folder / data.root.expanduser()
    captions = data.captions and folder / data.captions.expanduser()
    absent = []
    if data.name == "folder" and root is not None and not root.is_dir():
        absent.append(f"data.root: there is no folder {root}")
    if captions is not None and not captions.is_file():
        absent.append(f"data.captions: there is no file {captions}")
    if absent:
        return absent
    from mvqlab.data.catalogue import missing  # takes long, and only a grid that is to run needs it

    return [f"data.name: there is no {what}" for what in missing(data.model_copy(update={"root": root}))]
