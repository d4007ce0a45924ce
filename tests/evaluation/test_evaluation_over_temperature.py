"""Samples over temperature: drawn as said, unfiltered, and judged against the same real images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_runs import write_run
from torch import Tensor

from mvqlab.config import Config
from mvqlab.evaluation.samples import over_temperature
from mvqlab.evaluation.samples.distances import features_of, frechet_distance
from mvqlab.evaluation.samples.feature_extractor import FeatureExtractor
from mvqlab.evaluation.samples.over_temperature import judged_over_temperature
from mvqlab.sampling import Samples, sample_images
from mvqlab.zoo.trained import load_trained


class Colours(FeatureExtractor):
    """The mean of each colour."""

    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean(dim=(2, 3))


def test_each_temperature_is_drawn_without_filters_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage1, stage2 = write_run(tmp_path, "classes")
    trained, extractor = load_trained(stage2, stage1), Colours("colours", "colours", 3)
    drawn: list[Samples] = []
    asked: list[Config] = []

    def recorded(model: object, of_stage1: object, config: Config) -> Samples:
        asked.append(config)
        drawn.append(sample_images(trained.model, trained.stage1, config))
        return drawn[-1]

    monkeypatch.setattr(over_temperature, "sample_images", recorded)
    images = torch.randint(0, 256, (12, 3, 16, 16), generator=torch.Generator().manual_seed(0)).byte()
    real = features_of(extractor, images)
    table = judged_over_temperature(
        trained.model, trained.stage1, trained.config, real, extractor, (0.5, 1.5), n_samples=9
    )
    assert table["temperature"].tolist() == [one.sampling.temperature for one in asked] == [0.5, 1.5]
    assert all(one.sampling == one.sampling.without_filters() for one in asked)
    assert [len(one.images) for one in drawn] == [9, 9]
    expected = [frechet_distance(real, features_of(extractor, one.images)) for one in drawn]
    assert table["fid"].tolist() == pytest.approx(expected)
    assert {"precision", "recall", "density", "coverage", "kid"} <= set(table)
