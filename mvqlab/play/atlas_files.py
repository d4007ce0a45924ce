"""A codebook and what its codes stand for, as the page reads it: numbers as JSON, images on two sheets.

NAME.json          of each code: where on the principal plane, how often taken, the regions nearest to it,
                   the codes nearest to it
NAME_seen.webp     held-out images, side by side
NAME_drawn.webp    the same as they come back
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mvqlab.data.pixels import from_uint8, to_display, to_uint8
from mvqlab.evaluation.codebook.plane import in_unit_square, principal_plane
from mvqlab.evaluation.codebook.usage import NEAR_SHARE
from mvqlab.support.files import whole_file, write_text_whole
from mvqlab.widgets.codebook_atlas import in_numbers
from mvqlab.widgets.coded_images import CodedImages, code_images
from mvqlab.zoo.shipped import load_shipped_stage1

COLUMNS = 16  # images in a row of a sheet
N_NEAR, N_NEIGHBOURS = 8, 6
BATCH = 32


@torch.no_grad()
def write_atlas(name: str, folder: Path) -> None:
    """Write the atlas of a shipped stage 1 to `folder`. Raises DataError where its images are not here."""
    coded = code_images(load_shipped_stage1(name))
    restored = torch.cat(
        [
            to_uint8(coded.model.decode(coded.model.encode(images).pairs))
            for images in from_uint8(coded.images).split(BATCH)
        ]
    )
    _write_sheet(coded.images, folder / f"{name}_seen.webp", lossless=True)
    _write_sheet(restored, folder / f"{name}_drawn.webp", quality=90)  # without loss eight times as large
    write_text_whole(folder / f"{name}.json", json.dumps(atlas_of(coded), separators=(",", ":")))


def atlas_of(coded: CodedImages) -> dict[str, Any]:
    """What the page is told of a codebook: `codes`, one each, and words on all of them."""
    model, counts = coded.model, coded.counts
    plane = principal_plane(model.codebook, coded.features, counts)
    codes = []
    for code, (x, y) in enumerate(in_unit_square(plane.codes).tolist()):
        best = coded.regions_of(code, N_NEAR)
        took_it = (coded.codes[best] == code).int()
        near = torch.stack([coded.rows[best], coded.positions[best], took_it], dim=1)
        count = int(counts[code])
        others = coded.neighbours(code, N_NEIGHBOURS) if count else []
        codes.append(
            {
                "x": round(x, 4),
                "y": round(y, 4),
                "count": count,
                "near": near.tolist(),
                "neighbours": [[pair.second, round(pair.distance, 3)] for pair in others],
            }
        )
    return {
        "head": in_numbers(coded, float(plane.explained.sum())),
        "columns": COLUMNS,
        "n_regions": len(coded.codes),
        "near_share": NEAR_SHARE,
        "codes": codes,
    }


def _write_sheet(images: Tensor, path: Path, **settings: Any) -> None:
    """Images (B, 3, H, W) of bytes side by side, COLUMNS in a row; `settings` of Pillow's WebP writer."""
    pixels = to_display(images)  # (B, H, W, 3)
    side = pixels.shape[1]
    sheet = np.zeros((-(-len(pixels) // COLUMNS) * side, COLUMNS * side, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        top, left = side * (number // COLUMNS), side * (number % COLUMNS)
        sheet[top : top + side, left : left + side] = image
    with whole_file(path) as temporary:
        Image.fromarray(sheet).save(temporary, "WEBP", **settings)
