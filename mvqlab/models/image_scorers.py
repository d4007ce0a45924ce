"""Scorers that learn nothing and look at the pixels of a region: the rivals of a learned score.

Each says how much there is in a region (variance, gradient, entropy), what it would cost a codec (transform),
or how little of it the regions around it tell (neighbours). If one of them serves as well as f_s, learning a
score has brought nothing. None changes where a whole image gets brighter.

Symbols: B images of H x W pixels in [-1, 1]; L = h * w regions of p x p pixels, p = H / h, numbered row by
row.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mvqlab.models.mask_context import NO_CONTEXT, MaskContext

TRANSFORM_STEP = 1.0 / 16.0  # of the scale [-1, 1]: what a coefficient of the transform is rounded to
TONE_STEP = 1.0 / 16.0  # of the scale [-1, 1]: tones nearer than that count as the same
N_TONES = 2 * round(2.0 / TONE_STEP) + 1  # around a mean: from 2 below to 2 above
SMALL = 1e-3  # weight of a region's surroundings, which settle between regions that score alike


class ImageScorer(nn.Module):
    """A scorer that measures the image itself; `measure` says what."""

    def forward(
        self, features: Float[Tensor, "B d h w"], context: MaskContext = NO_CONTEXT
    ) -> Float[Tensor, "B L"]:
        """Scores of the regions of `context.images`; `features` give but the grid.

        Raises ValueError if there are no images.
        """
        if context.images is None:
            raise ValueError(f"{type(self).__name__} needs the images (B, 3, H, W) whose regions it scores")
        side = features.shape[-1]
        return settle_ties(self.measure(context.images.float(), side), side).to(features.dtype)

    def measure(self, images: Float[Tensor, "B 3 H W"], side: int) -> Float[Tensor, "B L"]:
        """How much there is in each of L = side * side regions, from 0 up."""
        raise NotImplementedError


def settle_ties(scores: Float[Tensor, "B L"], side: int) -> Float[Tensor, "B L"]:
    """`scores` and a thousandth of the mean around them: plain regions rank by what lies next to them."""
    on_grid = scores.unflatten(1, (1, side, side))  # (B, L) -> (B, 1, h, w)
    blurred = F.avg_pool2d(on_grid, 3, stride=1, padding=1, count_include_pad=False)
    return scores + SMALL * blurred.flatten(1)  # (B, 1, h, w) -> (B, L)


def patches_of(images: Float[Tensor, "B c H W"], side: int, margin: int = 0) -> Float[Tensor, "B L c q q"]:
    """Each region and `margin` pixels around it, q = p + 2 * margin; beyond an image its last ones go on."""
    p = images.shape[-1] // side
    q = p + 2 * margin
    padded = F.pad(images, (margin,) * 4, mode="replicate") if margin else images
    columns = F.unfold(padded, q, stride=p)  # (B, c q q, L)
    return columns.mT.unflatten(2, (images.shape[1], q, q))  # (B, L, c q q) -> (B, L, c, q, q)


class VarianceScorer(ImageScorer):
    """The variance of a region's pixels, mean over colours."""

    def measure(self, images: Float[Tensor, "B 3 H W"], side: int) -> Float[Tensor, "B L"]:
        """On the scale of [-1, 1] squared."""
        variances = patches_of(images, side).var(dim=(3, 4), correction=0)  # (B, L, 3, p, p) -> (B, L, 3)
        return variances.mean(dim=2)  # (B, L, 3) -> (B, L)


class GradientScorer(ImageScorer):
    """The mean length of the gradient in a region and across its borders: edges, also weak ones."""

    def measure(self, images: Float[Tensor, "B 3 H W"], side: int) -> Float[Tensor, "B L"]:
        """Per pixel, on the scale of [-1, 1]: central differences."""
        padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
        across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]  # (B, 3, H, W)
        down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]  # (B, 3, H, W)
        length = torch.hypot(across, down) / 2.0
        return (
            F.adaptive_avg_pool2d(length, side).mean(dim=1).flatten(1)
        )  # (B, 3, h, w) -> (B, h, w) -> (B, L)


class TransformScorer(ImageScorer):
    """What a codec of the plain kind (JPEG's: cosine transform, rounding) would spend on a region.

    The sum of log2(1 + |c| / step) over the coefficients c of the region's discrete cosine transform, but for
    the mean. Their energy alone would be the variance once more (Parseval).
    """

    def measure(self, images: Float[Tensor, "B 3 H W"], side: int) -> Float[Tensor, "B L"]:
        """Bits, roughly, mean over colours."""
        patches = patches_of(images, side)  # (B, L, 3, p, p)
        patches = patches - patches.mean(dim=(3, 4), keepdim=True)  # (B, L, 3, p, p), without brightness
        basis = cosine_basis(patches.shape[-1]).to(patches)  # (p, p)
        coefficients = basis @ patches @ basis.T  # (B, L, 3, p, p)
        bits = torch.log2(1.0 + coefficients.abs() / TRANSFORM_STEP)
        return bits.sum(dim=(3, 4)).mean(dim=2)  # (B, L, 3, p, p) -> (B, L)


def cosine_basis(p: int) -> Float[Tensor, "p p"]:
    """The orthonormal discrete cosine transform of p values (type II); a row a frequency, the mean first."""
    frequencies, places = torch.arange(p)[:, None], torch.arange(p)[None, :]
    basis = torch.cos(math.pi * (places + 0.5) * frequencies / p) * math.sqrt(2.0 / p)  # (p, p)
    basis[0] /= math.sqrt(2.0)
    return basis


class NeighbourScorer(ImageScorer):
    """What the regions around do not tell: the error of filling a region in from the pixels along its border.

    The filling is a Coons patch: between the four rows of pixels that touch the region it goes over smoothly.
    It is the cheapest form of the paper's question, which regions can be inferred from the others.
    """

    def measure(self, images: Float[Tensor, "B 3 H W"], side: int) -> Float[Tensor, "B L"]:
        """Mean squared error of the filling, on the scale of [-1, 1] squared."""
        patches = patches_of(images, side, margin=1)  # (B, L, 3, p + 2, p + 2)
        error = coons_patch(patches) - patches[..., 1:-1, 1:-1]  # (B, L, 3, p, p)
        return error.square().mean(dim=(2, 3, 4))  # (B, L, 3, p, p) -> (B, L)


def coons_patch(framed: Float[Tensor, "*any q q"]) -> Float[Tensor, "*any p p"]:
    """The inside, p = q - 2, of squares of which only the outermost pixels are read."""
    q = framed.shape[-1]
    t = torch.linspace(0.0, 1.0, q, dtype=framed.dtype, device=framed.device)[1:-1]  # (p,)
    s = t[:, None]  # (p, 1): from the top down
    left, right = framed[..., 1:-1, :1], framed[..., 1:-1, -1:]  # (..., p, 1)
    top, bottom = framed[..., :1, 1:-1], framed[..., -1:, 1:-1]  # (..., 1, p)
    across = (1.0 - t) * left + t * right  # (..., p, p)
    down = (1.0 - s) * top + s * bottom  # (..., p, p)
    upper = (1.0 - t) * framed[..., :1, :1] + t * framed[
        ..., :1, -1:
    ]  # (..., 1, p): between the upper corners
    lower = (1.0 - t) * framed[..., -1:, :1] + t * framed[
        ..., -1:, -1:
    ]  # (..., 1, p): between the lower ones
    return across + down - ((1.0 - s) * upper + s * lower)


class EntropyScorer(ImageScorer):
    """The entropy of a region's tones around their mean: how many different ones, whatever their contrast."""

    def measure(self, images: Float[Tensor, "B 3 H W"], side: int) -> Float[Tensor, "B L"]:
        """Bits a pixel, mean over colours, tones told apart in steps of `TONE_STEP`."""
        tones = patches_of(images, side).flatten(3)  # (B, L, 3, p, p) -> (B, L, 3, p p)
        deviations = tones - tones.mean(dim=3, keepdim=True)  # (B, L, 3, p p), from -2 to 2
        level = (deviations / TONE_STEP).round().long() + N_TONES // 2  # (B, L, 3, p p), from 0 up
        counts = torch.zeros(*level.shape[:3], N_TONES, device=level.device)  # (B, L, 3, tones)
        counts.scatter_add_(3, level, torch.ones_like(deviations))
        bits = torch.special.entr(counts / level.shape[3]).sum(dim=3) / math.log(2.0)  # (B, L, 3)
        return bits.mean(dim=2)  # (B, L, 3) -> (B, L)
