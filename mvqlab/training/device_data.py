"""Training images that live on the device: a batch is drawn, moved and coloured there, by tensors alone.

A GPU of today reconstructs small images faster than a processor can decode and stack them. So a whole data
set lies in the device's memory as bytes, and every batch is drawn at random, with replacement, by a few
kernels of fixed shapes, which a CUDA graph can replay. All randomness is torch's global generator's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mvqlab.data.emoji import SATURATION, VALUE, WHITE_SHARE

HUE_SHARE = 0.3  # of the images whose hues are turned, where hues are
LARGEST_TURN = math.pi / 15  # of a drawing, radians
SCALES = (0.8, 1.15)  # of a drawing
LARGEST_SHIFT = 0.2  # of a drawing, in halves of the side


class DrawnImages(NamedTuple):
    """images (B, 3, H, W) in [-1, 1]; conditions (B,) classes or (B, T) tokens, None where there are none."""

    images: Tensor
    conditions: Tensor | None


class ImageSource(Protocol):
    """Draws training images on a device, without waiting for it."""

    def draw(self, n: int) -> DrawnImages:
        """`n` images, each drawn anew."""
        ...


class StoredImages:
    """Images as they are, mirrored and with turned hues if asked.

    pixels (M, C, H, W) uint8 on the device, C = 1 or 3. conditions (M,) or (M, T), or None.
    """

    def __init__(
        self, pixels: Tensor, conditions: Tensor | None = None, *, mirror: bool = False, hues: bool = False
    ) -> None:
        self.pixels, self.conditions, self.mirror, self.hues = pixels, conditions, mirror, hues

    def draw(self, n: int) -> DrawnImages:
        rows = torch.randint(len(self.pixels), (n,), device=self.pixels.device)
        images = self.pixels[rows].float().div(255.0).expand(-1, 3, -1, -1)  # (n, C, H, W) -> (n, 3, H, W)
        if self.mirror:
            images = mirrored(images)
        if self.hues:
            images = with_turned_hues(images)
        return DrawnImages(images.mul(2.0).sub(1.0), _rows_of(self.conditions, rows))


class _Families(NamedTuple):
    """Which rows make a family: `members` (M,), family by family, from `first` (F,) on, `sizes` (F,) each."""

    members: Tensor
    first: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, families: Tensor) -> _Families:
        """From the family (M,) of each row."""
        sizes = families.unique(return_counts=True)[1]  # (F,)
        return cls(families.argsort(), sizes.cumsum(0) - sizes, sizes)


class Drawings:
    """Drawings with a transparent ground, laid over light ones; most are moved, scaled and turned a little.

    rgba (M, 4, S, S) uint8 on the device, S twice the side of the images: what is drawn is the mean of four
    pixels, which smooths the edges. plain: the share that is drawn as it stands. families (M,): numbers,
    equal for drawings of one family (a person in all skin tones); one draw in two then takes a family first,
    so that large families do not crowd out the rest.
    """

    def __init__(
        self,
        rgba: Tensor,
        resolution: int,
        conditions: Tensor | None = None,
        *,
        families: Tensor | None = None,
        plain: float = 0.5,
        hues: bool = True,
        mirror: bool = True,
    ) -> None:
        if rgba.shape[-1] != 2 * resolution:
            raise ValueError(
                f"drawings for images of {resolution} pixels must have {2 * resolution}, not {rgba.shape[-1]}"
            )
        self.rgba, self.resolution, self.conditions = rgba, resolution, conditions
        self.families = None if families is None else _Families.of(families)
        self.plain, self.hues, self.mirror = plain, hues, mirror

    def draw(self, n: int) -> DrawnImages:
        device = self.rgba.device
        rows = self._rows(n, device)
        rgba = self.rgba[rows].float().div(255.0)  # (n, 4, S, S)
        alpha, colours = rgba[:, 3:], rgba[:, :3]
        if self.hues:
            colours = with_turned_hues(colours)
        premultiplied = torch.cat([colours * alpha, alpha], dim=1)
        if self.mirror:
            premultiplied = mirrored(premultiplied)
        grid = F.affine_grid(self._places(n, device), list(premultiplied.shape), align_corners=False)
        placed = F.grid_sample(premultiplied, grid, mode="bilinear", align_corners=False)
        small = F.avg_pool2d(placed, 2)  # (n, 4, S, S) -> (n, 4, S / 2, S / 2)
        images = small[:, :3] + light_grounds(n, device) * (1.0 - small[:, 3:])
        return DrawnImages(images.mul(2.0).sub(1.0), _rows_of(self.conditions, rows))

    def _rows(self, n: int, device: torch.device) -> Tensor:
        rows = torch.randint(len(self.rgba), (n,), device=device)
        if self.families is None:
            return rows
        members, first, sizes = self.families
        family = torch.randint(len(sizes), (n,), device=device)
        inside = (torch.rand(n, device=device) * sizes[family]).long()
        of_family = members[first[family] + torch.minimum(inside, sizes[family] - 1)]
        return torch.where(torch.rand(n, device=device) < 0.5, of_family, rows)

    def _places(self, n: int, device: torch.device) -> Tensor:
        """Affine maps (n, 2, 3) from a place in the image to one in the drawing."""
        moved = (torch.rand(n, device=device) >= self.plain).float()
        scale = 1.0 + moved * (_uniform(n, *SCALES, device) - 1.0)
        turn = moved * _uniform(n, -LARGEST_TURN, LARGEST_TURN, device)
        shift = moved.unsqueeze(1) * (torch.rand(n, 2, device=device) * 2.0 - 1.0) * LARGEST_SHIFT
        cosine, sine = turn.cos() / scale, turn.sin() / scale
        top = torch.stack([cosine, -sine, shift[:, 0]], dim=1)
        bottom = torch.stack([sine, cosine, shift[:, 1]], dim=1)
        return torch.stack([top, bottom], dim=1)


class Mixture:
    """Of each batch fixed shares come from each source; what is left over comes from the first."""

    def __init__(self, sources: Sequence[ImageSource], shares: Sequence[float]) -> None:
        self.sources, self.shares = sources, [share / sum(shares) for share in shares]

    def draw(self, n: int) -> DrawnImages:
        counts = [int(share * n) for share in self.shares]
        counts[0] += n - sum(counts)
        drawn = [source.draw(count) for source, count in zip(self.sources, counts, strict=True) if count]
        return DrawnImages(torch.cat([part.images for part in drawn]), None)


def mirrored(images: Tensor) -> Tensor:
    """`images` (B, C, H, W), one in two with left and right swapped."""
    rows = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(rows, images.flip(-1), images)


def with_turned_hues(colours: Tensor, share: float = HUE_SHARE) -> Tensor:
    """`colours` (B, 3, H, W) in [0, 1], of a `share` of the images turned about the grey axis.

    A turn by t is I cos t + (1 - cos t) / 3 + K sin t / sqrt(3), with K the cross product by (1, 1, 1).
    """
    n, device = len(colours), colours.device
    turned = (torch.rand(n, device=device) < share).float()
    angle = turned * _uniform(n, 0.0, 2.0 * math.pi, device)
    cosine, sine = angle.cos().view(n, 1, 1, 1), angle.sin().view(n, 1, 1, 1)
    cross = colours.roll(1, 1) - colours.roll(-1, 1)  # (blue - green, red - blue, green - red)
    grey = colours.mean(dim=1, keepdim=True)
    return (colours * cosine + grey * (1.0 - cosine) + cross * sine / math.sqrt(3.0)).clamp(0.0, 1.0)


def light_grounds(n: int, device: torch.device) -> Tensor:
    """Grounds (n, 3, 1, 1) in [0, 1]: white, or a pastel of any hue.

    A channel of hue h in [0, 6) is v - v s max(0, min(k, 4 - k, 1)) with k = (5, 3, 1) + h modulo 6.
    """
    hue = _uniform((n, 1), 0.0, 6.0, device)
    k = (5.0 - 2.0 * torch.arange(3, device=device) + hue) % 6.0  # (n, 3)
    saturation, value = _uniform((n, 1), *SATURATION, device), _uniform((n, 1), *VALUE, device)
    pastel = value * (1.0 - saturation * torch.minimum(k, 4.0 - k).clamp(0.0, 1.0))
    is_white = torch.rand(n, 1, device=device) < WHITE_SHARE
    return torch.where(is_white, torch.ones_like(pastel), pastel).view(n, 3, 1, 1)


def halved(rgba: Tensor) -> Tensor:
    """Drawings (M, 4, S, S) uint8 at half the side (M, 4, S / 2, S / 2): means of four, weighed by alpha."""
    parts = []
    for part in rgba.split(256):
        alpha = part[:, 3:].float()
        small_alpha = F.avg_pool2d(alpha, 2)
        colours = F.avg_pool2d(part[:, :3].float() * alpha, 2) / small_alpha.clamp(min=1.0)
        parts.append(torch.cat([colours, small_alpha], dim=1).round().clamp(0, 255).to(torch.uint8))
    return torch.cat(parts)


def photo_windows(
    photographs: Sequence[Tensor], resolution: int, n_windows: int, n_scales: int = 12
) -> Tensor:
    """Windows (M, 3, resolution, resolution) uint8 of `photographs`, each (3, h, w) uint8, at many scales.

    Each photograph is resized, with antialiasing, to `n_scales` sizes, from the one whose shorter side is a
    window's to the photograph's own; as many windows are cut of each size. Nearly uniform windows are left
    out, so M is less than `n_windows`.
    """
    per_size = -(-n_windows // (len(photographs) * n_scales))
    windows = []
    for photograph in photographs:
        shorter = min(photograph.shape[1:])
        for step in range(n_scales):
            scale = (resolution / shorter) ** (step / (n_scales - 1))
            windows.append(_windows_of(_resized(photograph, scale, resolution), resolution, per_size))
    return torch.cat(windows)


def _resized(photograph: Tensor, scale: float, smallest: int) -> Tensor:
    size = [max(smallest, round(side * scale)) for side in photograph.shape[1:]]
    smaller = F.interpolate(photograph[None].float(), size=size, mode="bilinear", antialias=True)
    return smaller[0].round().clamp(0, 255).to(torch.uint8)


def _windows_of(photograph: Tensor, side: int, n: int) -> Tensor:
    """`n` windows (n, 3, side, side) at random, less those that show nearly one shade."""
    device = photograph.device
    tops = torch.randint(photograph.shape[1] - side + 1, (n,), device=device)
    lefts = torch.randint(photograph.shape[2] - side + 1, (n,), device=device)
    every = photograph.unfold(1, side, 1).unfold(2, side, 1)  # (3, h - side + 1, w - side + 1, side, side)
    windows = every[:, tops, lefts].transpose(0, 1).contiguous()  # (3, n, side, side) -> (n, 3, side, side)
    contrast = windows.float().mean(dim=1).flatten(1).std(dim=1)  # (n,)
    return windows[contrast >= 12.0]


def _rows_of(conditions: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if conditions is None else conditions[rows]


def _uniform(shape: int | tuple[int, ...], low: float, high: float, device: torch.device) -> Tensor:
    return low + (high - low) * torch.rand(shape, device=device)
