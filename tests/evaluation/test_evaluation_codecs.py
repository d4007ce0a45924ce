"""Codecs beside models: what a file takes without its header, and what comes back."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from mvqlab.evaluation.images.codecs import Codec, codec_rows, coded
from mvqlab.evaluation.images.reconstruction import image_scores


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """A smooth one and one of noise, 32 x 32."""
    ramp = torch.linspace(0, 255, 32).expand(3, 32, 32)
    noise = torch.randint(0, 256, (3, 32, 32), generator=torch.Generator().manual_seed(0))
    return torch.stack([ramp, noise]).to(torch.uint8)


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_noise_costs_more_than_a_ramp_and_quality_costs_bits(codec: Codec, images: torch.Tensor) -> None:
    low, high = coded(images, codec, 5), coded(images, codec, 90)
    assert (low.bits[0] < low.bits[1]).all() and (low.bits < high.bits).all()
    psnr = [image_scores(images, found.images, None, with_ssim=False)["psnr"] for found in (low, high)]
    assert (psnr[0] < psnr[1]).all() and psnr[1][0] > 35


def test_a_jpegs_bits_are_those_from_its_scan_on(images: torch.Tensor) -> None:
    """Of a flat image hardly any, though its file has more than 600 bytes."""
    flat = torch.full((1, 3, 32, 32), 128, dtype=torch.uint8)
    file = io.BytesIO()
    Image.fromarray(flat[0].permute(1, 2, 0).numpy()).save(file, "jpeg", quality=50)
    assert len(file.getvalue()) > 600
    found = coded(flat, "jpeg", 50)
    assert found.bits.item() < 8 * 40 and torch.equal(found.images, flat)


def test_channels_and_rows_stay_where_they_are() -> None:
    image = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    image[0, 0, :16] = 255  # red above
    back = coded(image, "webp", 90).images[0].float()
    assert back[0, :14].mean() > 200 and back[0, 18:].mean() < 50 and back[2].mean() < 60


def test_rows_hold_means_over_images(images: torch.Tensor) -> None:
    rows = codec_rows(images)
    assert {row["way"] for row in rows} == {"JPEG", "WebP"}
    (row,) = [row for row in rows if row["way"] == "JPEG" and row["setting"] == 30]
    assert row["bits"] == coded(images, "jpeg", 30).bits.double().mean().item()
