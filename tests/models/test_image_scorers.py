"""Scores measured on pixels, against each region looked at by itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from scipy.stats import entropy

from mvqlab.models.image_scorers import (
    EntropyScorer,
    GradientScorer,
    ImageScorer,
    NeighbourScorer,
    TransformScorer,
    VarianceScorer,
    coons_patch,
    settle_ties,
)
from mvqlab.models.mask_context import MaskContext

SIDE, P = 3, 4  # regions across, pixels across a region
UNLEARNED_SCORERS = [VarianceScorer, GradientScorer, TransformScorer, NeighbourScorer, EntropyScorer]


def variance(region: np.ndarray) -> float:
    return np.mean([colour.var() for colour in region])


def transform(region: np.ndarray) -> float:
    bits = []
    for colour in region:
        coefficients = dctn(colour, norm="ortho")
        coefficients[0, 0] = 0
        bits.append(np.log2(1 + np.abs(coefficients) * 16).sum())
    return np.mean(bits)


def tones(region: np.ndarray) -> float:
    levels = [np.round((colour - colour.mean()) * 16) for colour in region]
    return np.mean([entropy(np.unique(level, return_counts=True)[1], base=2) for level in levels])


@pytest.mark.parametrize(
    ("scorer", "plain"), [(VarianceScorer, variance), (TransformScorer, transform), (EntropyScorer, tones)]
)
def test_a_region_is_measured_by_itself(
    scorer: type[ImageScorer], plain: Callable[[np.ndarray], float]
) -> None:
    images = torch.rand(2, 3, SIDE * P, SIDE * P, dtype=torch.float64) * 2 - 1
    found = scorer().measure(images.float(), SIDE)
    for image, scores in zip(images.numpy().astype(np.float32), found, strict=True):
        for place, score in enumerate(scores):
            y, x = divmod(place, SIDE)
            region = image[:, y * P : (y + 1) * P, x * P : (x + 1) * P]
            assert float(score) == pytest.approx(plain(region), rel=1e-4)


def test_the_gradient_is_numpys_within_the_image() -> None:
    image = np.random.default_rng(0).uniform(-1, 1, (3, SIDE * P, SIDE * P)).astype(np.float32)
    down, across = np.gradient(image, axis=(1, 2))
    for edge in (down[:, 0], down[:, -1], across[:, :, 0], across[:, :, -1]):
        edge /= 2  # beyond the border the last pixels go on: half a difference
    length = np.hypot(down, across).mean(axis=0)
    expected = length.reshape(SIDE, P, SIDE, P).mean(axis=(1, 3)).ravel()
    found = GradientScorer().measure(torch.from_numpy(image)[None], SIDE)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_coons_patch_restores_what_is_bilinear_and_no_more() -> None:
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(6.0), indexing="ij")
    plane = 0.3 + 0.1 * x - 0.2 * y + 0.05 * x * y
    assert torch.allclose(coons_patch(plane), plane[1:-1, 1:-1], atol=1e-6)
    bump = torch.zeros(6, 6)
    bump[2:4, 2:4] = 1.0
    assert torch.equal(coons_patch(bump), torch.zeros(4, 4))  # of what is inside it knows nothing


def test_what_its_neighbours_tell_scores_low_and_what_is_alone_scores_high() -> None:
    image = torch.zeros(1, 3, SIDE * P, SIDE * P)
    image[..., 5, 6] = 1.0  # a dot inside the middle region
    scores = NeighbourScorer().measure(image, SIDE)[0]
    assert scores.argmax() == 4 and scores[[0, 2, 6, 8]].max() == 0


@pytest.mark.parametrize("scorer", UNLEARNED_SCORERS)
def test_brightness_changes_nothing_and_an_even_image_scores_0(scorer: type[ImageScorer]) -> None:
    image = torch.rand(1, 3, SIDE * P, SIDE * P) * 0.5
    dark, bright = (scorer().measure(image + shift, SIDE) for shift in (-0.75, 0.25))
    torch.testing.assert_close(dark, bright, rtol=1e-3, atol=1e-4)
    assert torch.allclose(scorer().measure(torch.full_like(image, 0.3), SIDE), torch.zeros(()), atol=1e-6)


@pytest.mark.parametrize("scorer", UNLEARNED_SCORERS)
def test_a_scorer_reads_the_images_and_the_grid_alone(scorer: type[ImageScorer]) -> None:
    images = torch.rand(2, 3, SIDE * P, SIDE * P)
    scores = scorer()(torch.randn(2, 5, SIDE, SIDE), MaskContext(images))
    assert torch.equal(scores, settle_ties(scorer().measure(images, SIDE), SIDE))
    with pytest.raises(ValueError, match="needs the images"):
        scorer()(torch.randn(2, 5, SIDE, SIDE))


def test_regions_that_score_alike_go_by_their_surroundings() -> None:
    scores = torch.zeros(1, 9)
    scores[0, 0] = 1.0
    settled = settle_ties(scores, 3)[0]
    assert settled.argmax() == 0 and settled[[1, 3, 4]].min() > settled[[2, 5, 6, 7, 8]].max()
