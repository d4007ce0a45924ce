"""One NaN or infinity is an error with a name in every metric, reader and picture, never a plain figure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from mvqlab.data.pixels import to_display, to_uint8
from mvqlab.evaluation.codebook.neighbours import nearest_others
from mvqlab.evaluation.codebook.usage import codebook_redundancy
from mvqlab.evaluation.images.importance import importance_agreement
from mvqlab.evaluation.judging_networks import JudgingNetwork, trained_once
from mvqlab.evaluation.samples.distances import (
    features_of,
    frechet_distance,
    frechet_distance_of_few,
    kernel_spread,
    unbiased_kernel_distance,
)
from mvqlab.evaluation.samples.extractors import FeatureExtractor
from mvqlab.evaluation.samples.inception_score import inception_score
from mvqlab.evaluation.samples.judge import judge
from mvqlab.evaluation.samples.memorisation import memorisation, nearest_rows
from mvqlab.evaluation.samples.precision_recall import precision_recall
from mvqlab.evaluation.samples.reference_features import _read
from mvqlab.evaluation.samples.sets import set_distances
from mvqlab.plots.picture_rows import masks
from mvqlab.results.pictures import Pictures, load_pictures
from mvqlab.support.disk_cache import CacheWarning
from mvqlab.support.finite import NonFiniteError, check_finite

PLAIN = FeatureExtractor("plain", "plain", 3)
TWO_SETS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "fid": frechet_distance,
    "fid of few": frechet_distance_of_few,
    "spread of kid": kernel_spread,
    "unbiased kid": unbiased_kernel_distance,
    "precision": precision_recall,
    "sets": set_distances,
    "judge": lambda real, generated: judge(real, generated, PLAIN, resamples=0),
    "memorisation": lambda real, generated: memorisation(generated, real, held_out=real),
}


def rows(n: int, value: float = 0.0, seed: int = 0) -> Tensor:
    """(n, 3) features, one of them `value`."""
    found = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed)).double()
    found[n // 2, 1] = value
    return found


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("metric", TWO_SETS)
def test_no_metric_of_two_sets_makes_a_figure_of_it(metric: str, value: float) -> None:
    """max(0.0, nan) is 0.0: one NaN was a perfect FID."""
    with pytest.raises(NonFiniteError, match="generated"):
        TWO_SETS[metric](rows(12), rows(11, value, seed=1))
    with pytest.raises(NonFiniteError, match=r"real|training"):
        TWO_SETS[metric](rows(12, value), rows(11, seed=1))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_no_metric_of_one_set_does_either(value: float) -> None:
    with pytest.raises(NonFiniteError, match="logits"):
        inception_score(rows(8, value))
    with pytest.raises(NonFiniteError, match="features"):
        nearest_rows(rows(8), rows(8, value))
    for of_codebook in (codebook_redundancy, nearest_others):
        with pytest.raises(NonFiniteError, match="codebook"):
            of_codebook(rows(8, value))
    scores, is_kept = rows(3, value).repeat(1, 3), torch.zeros(3, 9, dtype=torch.bool)
    importance = torch.eye(6).bool().repeat(3, 1, 1)
    with pytest.raises(NonFiniteError, match="scores"):
        importance_agreement(scores, is_kept, importance)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_images_are_not_painted_black_or_white(value: float) -> None:
    images = torch.zeros(2, 3, 4, 4)
    images[1, 2, 3, 0] = value
    for read in (to_uint8, to_display):
        with pytest.raises(NonFiniteError, match=r"samples: 1 of 96 .* \[1, 2, 3, 0\]"):
            read(images, "samples")
    with pytest.raises(NonFiniteError, match="real images"):
        features_of(PLAIN, images, what="real images")


def test_features_that_a_network_spoils_name_network_and_images() -> None:
    class Broken(FeatureExtractor):
        def forward(self, images: Tensor) -> Tensor:
            return images.float().mean(dim=(2, 3)) / 0.0

    with pytest.raises(NonFiniteError, match="features of reconstructions by broken"):
        features_of(Broken("broken", "broken", 3), torch.zeros(2, 3, 4, 4), what="reconstructions")


def test_kept_scores_are_looked_at_when_they_are_read_and_drawn(tmp_path: Path) -> None:
    images = np.zeros((1, 8, 8, 3), np.uint8)
    scores = np.array([[[0.5, np.nan], [0.1, 0.2]]], np.float32)
    pictures = Pictures(images, images, scores, scores > 0, images[:0])
    pictures.save(tmp_path)
    with pytest.raises(NonFiniteError, match=str(tmp_path)):
        load_pictures(tmp_path)
    with pytest.raises(NonFiniteError, match="scores of mine"):
        masks(pictures, "mine")


def test_what_a_cache_holds_of_it_is_made_anew(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "features.safetensors"
    save_file({"features": rows(4)}, path)
    assert torch.equal(_read(path), rows(4))
    save_file({"features": rows(4, torch.nan)}, path)
    with pytest.raises(NonFiniteError):
        _read(path)

    def train() -> JudgingNetwork:
        network = torch.nn.Linear(2, 1)
        return JudgingNetwork(network.requires_grad_(False), {})

    def judge_of() -> torch.nn.Module:
        return trained_once("net", lambda: torch.nn.Linear(2, 1), train, lambda net, _: net, tmp_path)

    judge_of()
    save_file({"weight": torch.full((1, 2), torch.nan), "bias": torch.zeros(1)}, tmp_path / "net.safetensors")
    with pytest.warns(CacheWarning, match="weight"):
        assert judge_of().weight.isfinite().all()


def test_whole_numbers_and_truths_are_finite() -> None:
    for values in (torch.arange(3), torch.zeros(2, dtype=torch.bool), np.zeros(3), torch.zeros(0)):
        check_finite("numbers", values)


def test_a_model_that_decodes_nan_gets_no_psnr() -> None:
    from mvqlab.evaluation.images.reconstruction import _reconstruct

    def broken(images: Tensor, *_: object) -> SimpleNamespace:
        return SimpleNamespace(images=images * torch.nan, scores=torch.zeros(2, 4))

    batch = SimpleNamespace(images=torch.zeros(2, 3, 4, 4), importance=None)
    with pytest.raises(NonFiniteError, match="reconstructions of held-out images"):
        _reconstruct(broken, batch, torch.Generator())  # type: ignore[arg-type]
