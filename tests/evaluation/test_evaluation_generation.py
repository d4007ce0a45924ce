"""FID and KID against numpy, on the same features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor

from mvqlab.data.pixels import to_uint8
from mvqlab.evaluation.samples.distances import (
    features_of,
    frechet_distance,
    kernel_spread,
    spread_column,
    unbiased_kernel_distance,
)
from mvqlab.evaluation.samples.extractors import FeatureExtractor


class Means(FeatureExtractor):
    """Mean and spread of each colour: six features."""

    def __init__(self) -> None:
        super().__init__("means", "means", 6)
        self.batch_sizes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        assert images.dtype == torch.uint8
        self.batch_sizes.append(len(images))
        pixels = images.float() / 255.0
        return torch.cat([pixels.mean(dim=(2, 3)), pixels.std(dim=(2, 3))], dim=1)


def features(n: int, n_features: int, seed: int, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(n_features, n_features, generator=generator)
    return (torch.randn(n, n_features, generator=generator) @ mix + shift).double()


def slow_frechet(real: np.ndarray, generated: np.ndarray) -> float:
    first, second = np.cov(real, rowvar=False), np.cov(generated, rowvar=False)
    root = sqrtm(first @ second)
    distance = ((real.mean(0) - generated.mean(0)) ** 2).sum()
    return float(distance + np.trace(first) + np.trace(second) - 2 * np.trace(root).real)


def slow_kernel(real: np.ndarray, generated: np.ndarray) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return (float(a @ b) / len(a) + 1.0) ** 3

    n = len(real)
    within = [kernel(s[i], s[j]) for s in (real, generated) for i in range(n) for j in range(n) if i != j]
    across = [kernel(a, b) for a in real for b in generated]
    return sum(within) / (n * (n - 1)) - 2 * sum(across) / n**2


def test_fid_agrees_with_scipy() -> None:
    real, generated = features(41, 5, seed=0), features(37, 5, seed=1, shift=0.7)
    assert frechet_distance(real, generated) == pytest.approx(
        slow_frechet(real.numpy(), generated.numpy()), rel=1e-8
    )


def test_fid_of_shifted_features_is_the_shift_squared() -> None:
    real = features(41, 5, seed=0)
    assert frechet_distance(real, real + 2.0) == pytest.approx(5 * 4.0)


def test_fid_of_features_far_from_the_origin_keeps_its_digits() -> None:
    """In single precision the covariance, a difference of large sums, drowns in rounding."""
    real, generated = features(41, 5, seed=0), features(41, 5, seed=1)
    near = frechet_distance(real, generated)
    assert frechet_distance(real + 1e3, generated + 1e3) == pytest.approx(near, rel=1e-5)


def test_fid_with_fewer_images_than_features_is_sound() -> None:
    """The covariances are singular: the root's trace must not turn nan, complex or below 0."""
    real, generated = features(7, 23, seed=0), features(5, 23, seed=1)
    assert frechet_distance(real, generated) > 0.0
    assert frechet_distance(real, real) == pytest.approx(0.0, abs=1e-4)


def test_kid_agrees_with_a_loop() -> None:
    real, generated = features(13, 3, seed=0), features(13, 3, seed=1)
    distance = unbiased_kernel_distance(real, generated)
    assert distance == pytest.approx(slow_kernel(real.numpy(), generated.numpy()))


def test_the_spread_of_kid_depends_on_its_seed_only() -> None:
    real, generated = features(17, 3, seed=0), features(11, 3, seed=1)
    torch.manual_seed(4)
    expected = torch.rand(1)
    torch.manual_seed(4)
    first = kernel_spread(real, generated, seed=5)
    assert torch.equal(torch.rand(1), expected)  # the global generator is left alone
    assert kernel_spread(real, generated, seed=5) == first
    assert kernel_spread(real, generated, seed=6) != first
    assert first > 0.0


def test_the_spread_of_kid_is_that_of_halves() -> None:
    """Subsets of the whole set are all the same: 1e-16 was printed as the spread."""
    real, generated = features(40, 3, seed=0), features(30, 3, seed=1)
    random = torch.Generator().manual_seed(2)

    def of_a_half() -> float:
        halves = (rows[torch.randperm(len(rows), generator=random)[:15]] for rows in (real, generated))
        return unbiased_kernel_distance(*halves)

    expected = float(torch.tensor([of_a_half() for _ in range(200)]).std())
    assert kernel_spread(real, generated) == pytest.approx(expected, rel=0.35)
    assert list(spread_column(real, generated, Means())) == ["kid_means_std"]
    assert spread_column(real, generated[:3], Means()) == {}


def test_kid_over_blocks_is_kid_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    real, generated = features(13, 3, seed=0), features(13, 3, seed=1)
    monkeypatch.setattr("mvqlab.evaluation.samples.distances.KERNEL_BLOCK", 4)
    expected = slow_kernel(real.numpy(), generated.numpy())
    assert unbiased_kernel_distance(real, generated) == pytest.approx(expected)


@pytest.mark.parametrize("distance", [frechet_distance, unbiased_kernel_distance, kernel_spread])
def test_one_image_has_no_distribution(distance: object) -> None:
    with pytest.raises(ValueError, match="at least two images on each side, got 4 real and 1 generated"):
        distance(features(4, 3, seed=0), features(1, 3, seed=1))  # type: ignore[operator]


def test_bytes_are_rounded_and_clipped() -> None:
    """Cutting off instead darkens every image by half a step."""
    images = torch.tensor([-1.0, 1.0, 0.0, -7.0, 7.0, -1.0 + 1.6 / 127.5])
    assert to_uint8(images).tolist() == [0, 255, 128, 0, 255, 2]
    every_byte = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(every_byte.float() / 127.5 - 1.0), every_byte)
    assert to_uint8(every_byte) is every_byte


def test_features_are_computed_in_batches() -> None:
    extractor = Means()
    images = torch.rand(11, 3, 5, 7) * 2.0 - 1.0
    found = features_of(extractor, images, batch_size=4)
    assert extractor.batch_sizes == [4, 4, 3]
    assert found.shape == (11, 6) and found.dtype == torch.float64
    torch.testing.assert_close(found, extractor(to_uint8(images)).double())


def test_closer_images_score_better() -> None:
    generator = torch.Generator().manual_seed(0)
    real, other = (torch.rand(40, 3, 5, 7, generator=generator) * 2.0 - 1.0 for _ in range(2))
    real, near, far = (features_of(Means(), images) for images in (real, other, other * 0.3))
    for distance in (frechet_distance, unbiased_kernel_distance):
        assert distance(real, near) < distance(real, far)
