"""One pass over the held-out images, figures against slow references, and the whole results row."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from tiny_runs import tiny
from torch import Tensor, nn

from mvqlab.config import Config
from mvqlab.data import Batch, build_splits
from mvqlab.evaluation import (
    collect,
    evaluate_generation,
    evaluate_stage1,
    reconstruction_quality,
)
from mvqlab.evaluation.images.reconstruction import perceptual_network
from mvqlab.evaluation.samples.distances import frechet_distance
from mvqlab.evaluation.samples.extractors import FeatureExtractor
from mvqlab.models.mqvae import Reconstruction, build_stage1
from mvqlab.models.pairs import Pairs
from mvqlab.support.pretrained import MissingWeightsError
from mvqlab.training.losses import PerceptualLoss

SIDE, N_KEPT, HEIGHT, WIDTH = 2, 3, 17, 13


class Colours(FeatureExtractor):
    """The mean of each colour."""

    def __init__(self) -> None:
        super().__init__("colours", "colours", 3)

    def forward(self, images: Tensor) -> Tensor:
        return images.float().mean(dim=(2, 3))


class Fake(nn.Module):
    """A stage-1 model that darkens, with random scores and codes that count the images it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.5))
        self.modes: list[bool] = []
        self.seen = 0

    def forward(
        self, images: Tensor, importance: Tensor | None, generator: torch.Generator
    ) -> Reconstruction:
        self.modes.append(self.training)
        n = len(images)
        scores = torch.rand(n, SIDE**2, generator=generator)
        positions = scores.topk(N_KEPT).indices.sort().values
        codes = torch.arange(self.seen, self.seen + n)[:, None].expand(n, N_KEPT)
        self.seen += n
        pairs = Pairs(codes, positions, SIDE)
        return Reconstruction(images * self.factor, pairs, scores, pairs.is_kept, torch.zeros(()))


def fake_batches(*sizes: int, with_importance: bool = True) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(0)
    for size in sizes:
        yield Batch(
            images=torch.rand(size, 3, HEIGHT, WIDTH, generator=generator) * 2.0 - 1.0,
            labels=torch.arange(size),
            captions=[""] * size,
            importance=torch.rand(size, HEIGHT, WIDTH, generator=generator) < 0.5
            if with_importance
            else None,
        )


def test_collect_joins_all_batches_in_order() -> None:
    held_out = collect(Fake(), fake_batches(5, 5, 2))  # type: ignore[arg-type]
    assert len(held_out) == 12
    assert held_out.images.shape == held_out.reconstructions.shape == (12, 3, HEIGHT, WIDTH)
    assert held_out.images.dtype == held_out.reconstructions.dtype == torch.uint8
    assert held_out.pairs.codes[:, 0].tolist() == list(range(12))
    assert held_out.importance is not None and held_out.importance.shape == (12, HEIGHT, WIDTH)
    assert held_out.labels.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert torch.equal(held_out.is_kept, held_out.pairs.is_kept)


def test_collect_evaluates_and_restores_the_mode() -> None:
    """A model measured in training mode updates its codebook on held-out images."""
    model = Fake().train()
    held_out = collect(model, fake_batches(2, 2))  # type: ignore[arg-type]
    assert model.modes == [False, False]
    assert model.training
    assert not held_out.scores.requires_grad


def test_random_masks_come_from_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = collect(Fake(), fake_batches(3), seed=4)  # type: ignore[arg-type]
    torch.manual_seed(2)
    assert torch.equal(collect(Fake(), fake_batches(3), seed=4).scores, first.scores)  # type: ignore[arg-type]
    assert not torch.equal(collect(Fake(), fake_batches(3), seed=5).scores, first.scores)  # type: ignore[arg-type]


def test_data_without_masks_and_data_without_images() -> None:
    assert collect(Fake(), fake_batches(2, with_importance=False)).importance is None  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no held-out images"):
        collect(Fake(), fake_batches())  # type: ignore[arg-type]


def test_figures_agree_with_plain_ones() -> None:
    """Means over images, not over batches: the short last batch must weigh less."""
    held_out = collect(Fake(), fake_batches(5, 2))  # type: ignore[arg-type]
    quality = reconstruction_quality(held_out, batch_size=5)
    truth, restored = held_out.images.numpy() / 255.0, held_out.reconstructions.numpy() / 255.0
    errors = ((truth - restored) ** 2).mean(axis=(1, 2, 3))
    similarities = [
        structural_similarity(
            a,
            b,
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for a, b in zip(truth, restored, strict=True)
    ]
    assert quality["l1"] == pytest.approx(np.abs(truth - restored).mean(), rel=1e-5)
    assert quality["psnr"] == pytest.approx((-10 * np.log10(errors)).mean(), rel=1e-5)
    assert quality["ssim"] == pytest.approx(np.mean(similarities), rel=1e-3)
    assert quality["held_out_images"] == 7
    assert quality["pooled_psnr"] == pytest.approx(-10 * np.log10(np.mean(errors)), rel=1e-5)
    assert quality["good_psnr_share"] == np.mean(-10 * np.log10(errors) >= 25.0)
    assert list(quality) == ["l1", "psnr", "ssim", "pooled_psnr", "good_psnr_share", "held_out_images"]


def test_exact_images_count_100_db() -> None:
    """One exact image would make the mean PSNR infinite."""
    model = Fake()
    nn.init.ones_(model.factor)
    quality = reconstruction_quality(collect(model, fake_batches(3)))  # type: ignore[arg-type]
    assert quality["psnr"] == 100.0
    assert (quality["l1"], quality["ssim"]) == (0.0, pytest.approx(1.0))


def test_images_smaller_than_the_window_have_no_ssim() -> None:
    small = Batch(torch.rand(2, 3, 8, 8), torch.zeros(2), ["", ""])
    quality = reconstruction_quality(collect(Fake(), [small]))  # type: ignore[arg-type]
    assert math.isnan(quality["ssim"]) and quality["psnr"] > 0.0


def test_networks_name_their_columns() -> None:
    perceptual = PerceptualLoss("random")
    held_out = collect(Fake(), fake_batches(5, 2))  # type: ignore[arg-type]
    quality = reconstruction_quality(held_out, perceptual, Colours())  # type: ignore[arg-type]
    images, restored = (x.float() / 127.5 - 1.0 for x in (held_out.images, held_out.reconstructions))
    assert quality["lpips_random"] == pytest.approx(perceptual(restored, images).mean().item(), rel=1e-4)
    extractor = Colours()
    assert quality["rfid_colours"] == pytest.approx(
        frechet_distance(extractor(held_out.images).double(), extractor(held_out.reconstructions).double())
    )


def test_missing_weights_stop_before_the_model_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MissingWeightsError):
        perceptual_network("vgg")


def settings(kind: str) -> Config:
    ratio = 0.0 if kind == "none" else 0.5
    return tiny(
        f"mask.kind={kind}",
        f"mask.mask_ratio={ratio}",
        "quantizer.codebook_size=7",
        "evaluation.images=9",
        "evaluation.batch_size=4",
    )


COLUMNS = [
    *(
        "l1",
        "psnr",
        "ssim",
        "lpips_random",
        "pooled_psnr",
        "good_psnr_share",
        "rfid_colours",
        "held_out_images",
    ),
    *(f"psnr_at_distance_{steps}" for steps in range(4)),
    *("n_pairs", "n_pairs_std", "length_complexity", "fixed_length_bits"),
    *("codebook_used_share", "codebook_perplexity", "codebook_n_features", "codebook_perplexity_of_few"),
    *("codebook_effective_rank", "codebook_nearest_distance", "codebook_nearest_cosine"),
    *("codebook_near_duplicate_share", "codebook_n_codes"),
    *("score_auc", "kept_iou", "kept_iou_chance", "kept_iou_best", "importance_images"),
    *("lpips_network", "extractor"),
]


@pytest.mark.parametrize(("kind", "n_kept"), [("adaptive", 8), ("random", 8), ("truth", 8), ("none", 16)])
def test_every_kind_of_model_fills_the_same_row(kind: str, n_kept: int) -> None:
    config = settings(kind)
    splits, model = build_splits(config.data), build_stage1(config)
    row = evaluate_stage1(model, splits, config, Colours())
    assert list(row) == COLUMNS
    assert (row.pop("lpips_network"), row.pop("extractor")) == ("random (untrained squeeze)", "colours")
    assert all(isinstance(value, (int, float)) for value in row.values())
    assert row["held_out_images"] == 9
    assert row["codebook_n_features"] == 9 * n_kept
    assert row["codebook_n_codes"] == pytest.approx(row["codebook_used_share"] * 7)
    assert math.isnan(row["score_auc"]) == (kind == "none")
    if kind == "truth":  # what is kept by the truth agrees with it as well as can be
        assert row["kept_iou"] == pytest.approx(row["kept_iou_best"])
        assert row["score_auc"] == 1.0


def test_generated_images_are_held_against_held_out_ones() -> None:
    config = settings("adaptive")
    splits = build_splits(config.data)
    held_out = torch.stack([splits.validation[index]["image"] for index in range(9)])
    row = evaluate_generation(held_out, splits, config, Colours())
    assert row["fid_colours"] == pytest.approx(0.0, abs=1e-3)
    assert (row["real_images"], row["generated_images"]) == (9, 9)
