"""One image under any mask: what the explorer shows is what the model makes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import tiny_stage1

from mvqlab.data.pixels import to_uint8
from mvqlab.evaluation.images.choice import at_random, by_score, choosing, upside_down
from mvqlab.evaluation.images.masked_image import EncodedImage
from mvqlab.training.losses import PerceptualLoss

RANKS = {"score": by_score, "random": at_random, "inverted": upside_down}
L = 16


@pytest.fixture(scope="module")
def encoded() -> EncodedImage:
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2.0 - 1.0
    return EncodedImage(tiny_stage1(), image)


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("n", [1, 5, L])
def test_is_what_the_whole_model_makes_of_the_same_choice(encoded: EncodedImage, rank: str, n: int) -> None:
    """Cached features must not make another picture than a run from pixels."""
    image = encoded.image.float().div(127.5).sub(1.0).unsqueeze(0)
    fresh = EncodedImage(encoded.model, image[0])
    masked = fresh.keep(fresh.best(n, RANKS[rank], seed=3))
    with choosing(encoded.model, n, RANKS[rank]), torch.no_grad():
        made = encoded.model(image, generator=torch.Generator().manual_seed(3))
    assert torch.equal(masked.codes, made.pairs.codes[0])
    assert torch.equal(masked.positions, made.pairs.positions[0])
    assert torch.equal(masked.is_kept, made.is_kept[0])
    assert torch.equal(masked.image, to_uint8(made.images)[0])


@given(chosen=st.sets(st.integers(0, L - 1), min_size=1), seed=st.randoms())
def test_regions_may_be_given_in_any_order(encoded: EncodedImage, chosen: set[int], seed: object) -> None:
    shuffled = list(chosen)
    seed.shuffle(shuffled)
    masked = encoded.keep(shuffled)
    assert masked.positions.tolist() == sorted(chosen)
    assert masked.is_kept.nonzero().flatten().tolist() == sorted(chosen)
    assert torch.equal(masked.image, encoded.keep(sorted(chosen)).image)


def test_numbers_are_those_of_the_picture(encoded: EncodedImage) -> None:
    masked = encoded.keep([0, 3, 7])
    squared = ((masked.image.double() - encoded.image.double()) / 255.0).square().mean()
    assert masked.psnr == pytest.approx(-10.0 * math.log10(squared), abs=1e-4)
    assert masked.bits == pytest.approx(3 * math.log2(16) + math.log2(math.comb(L, 3)))
    assert masked.lpips is None


def test_lpips_is_the_named_networks(encoded: EncodedImage) -> None:
    perceptual = PerceptualLoss("random")
    judged = EncodedImage(encoded.model, encoded.image.float() / 127.5 - 1.0, perceptual)
    masked = judged.keep(range(L))
    pictures = [image.unsqueeze(0).float() / 127.5 - 1.0 for image in (masked.image, judged.image)]
    assert masked.lpips == pytest.approx(float(perceptual(*pictures)), abs=1e-6)


def test_a_random_choice_follows_its_seed(encoded: EncodedImage) -> None:
    assert torch.equal(encoded.best(8, at_random, 5), encoded.best(8, at_random, 5))
    assert not torch.equal(encoded.best(8, at_random, 5), encoded.best(8, at_random, 6))


def test_no_region_at_all_is_refused(encoded: EncodedImage) -> None:
    with pytest.raises(ValueError, match="keep at least one region"):
        encoded.keep([])


@pytest.mark.parametrize(
    "kind",
    [
        ["mask.kind=none", "mask.mask_ratio=0"],
        ["mask.kind=random"],
        ["mask.kind=random", "mask.product=score"],  # its scores weigh, and choose nothing
        ["mask.kind=upside_down"],
    ],
)
def test_a_model_without_learned_scores_is_refused(kind: list[str]) -> None:
    with pytest.raises(ValueError, match="needs a model with learned scores"):
        EncodedImage(tiny_stage1(*kind), torch.zeros(3, 16, 16))


def test_an_image_of_another_size_is_refused(encoded: EncodedImage) -> None:
    with pytest.raises(ValueError, match="reads images of 16 x 16 pixels"):
        EncodedImage(encoded.model, torch.zeros(3, 32, 32))


def test_the_threads_of_others_are_left_alone(encoded: EncodedImage) -> None:
    """A training in the same kernel would otherwise run on one thread from then on."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        encoded.keep([1, 2])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
