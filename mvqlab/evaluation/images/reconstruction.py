"""How well held-out images come back: one pass of the model, then pure functions over what it gave.

`collect` runs the model once over the whole held-out set; reconstruction, codebook and importance
figures are all read off the `HeldOut` that it returns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from mvqlab.data import Batch
from mvqlab.data.pixels import to_display, to_uint8
from mvqlab.evaluation.samples.distances import features_of, frechet_columns
from mvqlab.evaluation.samples.feature_extractor import Extractors, each_of
from mvqlab.models.mqvae import TokenModel
from mvqlab.models.pairs import Pairs, concatenate
from mvqlab.results.pictures import Pictures
from mvqlab.support.evaluation_mode import evaluation_mode
from mvqlab.support.finite import check_finite
from mvqlab.support.torchvision_guard import import_torchvision
from mvqlab.training.losses import PerceptualLoss

GOOD_PSNR = 25.0  # dB from which on an image counts as restored well
BEST_PSNR = 100.0  # dB of an image that is restored exactly, or it would make the mean infinite
SSIM_WINDOW = 11  # pixels, side of torchmetrics' Gaussian window


@dataclass(frozen=True)
class HeldOut:
    """What a stage-1 model made of the held-out images, on the CPU.

    images, reconstructions (n, 3, H, W) uint8: both as they would be saved, 8 bits a channel.
    pairs: codes and positions (n, N). scores (n, L). is_kept (n, L) bool.
    importance (n, H, W) bool, the true object mask, or None where the data has none. labels (n,).
    """

    images: Tensor
    reconstructions: Tensor
    pairs: Pairs
    scores: Tensor
    is_kept: Tensor
    importance: Tensor | None
    labels: Tensor

    def __len__(self) -> int:
        return len(self.images)


@torch.no_grad()
def collect(model: TokenModel, batches: Iterable[Batch], seed: int = 0) -> HeldOut:
    """Run `model` in evaluation mode once over `batches`, on the device where it is.

    `seed` is what random masks are drawn from. The model's training mode is restored afterwards.
    Raises ValueError if there are no batches, NonFiniteError if the model makes NaN or infinities.
    """
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    with evaluation_mode(model):
        parts = [_reconstruct(model, batch.to(device), generator) for batch in batches]
    if not parts:
        raise ValueError("there are no held-out images to evaluate on")
    return _join(parts)


def reconstruction_quality(
    held_out: HeldOut,
    perceptual: PerceptualLoss | None = None,
    extractor: Extractors = None,
    batch_size: int = 64,
) -> dict[str, float]:
    """Means over all held-out images, of which there are `held_out_images`.

    l1: mean absolute difference, images in [0, 1]. psnr: dB, images in [0, 1], of each image, then
    averaged; an exact image counts 100 dB. pooled_psnr: dB, of the squared error over all images, in which
    bad ones weigh more. good_psnr_share: of images that reach 25 dB. ssim: images in [0, 1], Gaussian window
    of 11 pixels; nan for images smaller than that. lpips_<net>: no unit, only with a `perceptual` network.
    rfid_<column>: Frechet distance of reconstructions to originals, of each `extractor`; where it holds
    several judges their mean, and rfid_<column>_spread their standard deviation.
    """
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, len(held_out), batch_size):
        rows = slice(start, start + batch_size)
        scores = image_scores(held_out.images[rows], held_out.reconstructions[rows], perceptual)
        for name, values in scores.items():
            parts.setdefault(name, []).append(values.double().cpu())
    by_image = {name: torch.cat(values) for name, values in parts.items()}
    quality = {name: float(values.mean()) for name, values in by_image.items()}
    quality["pooled_psnr"] = pooled_psnr(by_image["psnr"])
    quality["good_psnr_share"] = float((by_image["psnr"] >= GOOD_PSNR).double().mean())
    for one in each_of(extractor):
        real = features_of(one, held_out.images, batch_size, "held-out images")
        restored = features_of(one, held_out.reconstructions, batch_size, "reconstructions")
        quality |= frechet_columns(real, restored, one, "rfid")
    return {**quality, "held_out_images": len(held_out)}


def pooled_psnr(psnr: Tensor) -> float:
    """dB of the mean squared error over images with the given `psnr` (n,), dB: bad ones weigh more."""
    squared_error = 10.0 ** (-psnr / 10.0)
    return float(-10.0 * squared_error.mean().log10())


def perceptual_network(net: str, device: torch.device | str = "cpu") -> PerceptualLoss | None:
    """The network of the LPIPS column, None for `none`. Raises MissingWeightsError."""
    return None if net == "none" else PerceptualLoss(net).to(device)


def _reconstruct(model: TokenModel, batch: Batch, generator: torch.Generator) -> HeldOut:
    made = model(batch.images, batch.importance, generator)
    check_finite("scores of held-out images", made.scores)
    return HeldOut(
        images=to_uint8(batch.images, "held-out images").cpu(),
        reconstructions=to_uint8(made.images, "reconstructions of held-out images").cpu(),
        pairs=made.pairs.to("cpu"),
        scores=made.scores.float().cpu(),
        is_kept=made.is_kept.cpu(),
        importance=None if batch.importance is None else batch.importance.bool().cpu(),
        labels=batch.labels.cpu(),
    )


def _join(parts: list[HeldOut]) -> HeldOut:
    masks = [part.importance for part in parts if part.importance is not None]
    return HeldOut(
        images=torch.cat([part.images for part in parts]),
        reconstructions=torch.cat([part.reconstructions for part in parts]),
        pairs=concatenate([part.pairs for part in parts]),
        scores=torch.cat([part.scores for part in parts]),
        is_kept=torch.cat([part.is_kept for part in parts]),
        importance=torch.cat(masks) if len(masks) == len(parts) else None,
        labels=torch.cat([part.labels for part in parts]),
    )


@torch.no_grad()
def image_scores(
    images: Tensor, reconstructions: Tensor, perceptual: PerceptualLoss | None, with_ssim: bool = True
) -> dict[str, Tensor]:
    """The columns l1, psnr, ssim and lpips_<net> of `reconstruction_quality` for each image: (B,) each.

    Both images (B, 3, H, W) are uint8, as they would be saved.
    """
    import_torchvision()
    from torchmetrics.functional.image import peak_signal_noise_ratio

    truth, restored = images.float() / 255.0, reconstructions.float() / 255.0
    psnr = peak_signal_noise_ratio(restored, truth, data_range=1.0, reduction="none", dim=(1, 2, 3))
    scores = {
        "l1": (restored - truth).abs().mean(dim=(1, 2, 3)),
        "psnr": psnr.clamp(max=BEST_PSNR),
    }
    if with_ssim:
        scores["ssim"] = _ssim(restored, truth)
    if perceptual is not None:
        device = next(perceptual.lpips.parameters()).device
        scores[f"lpips_{perceptual.net}"] = perceptual(
            (restored * 2.0 - 1.0).to(device), (truth * 2.0 - 1.0).to(device)
        )
        check_finite(f"LPIPS by {perceptual.label}", scores[f"lpips_{perceptual.net}"])
    return scores


def mean_psnr(images: Tensor, reconstructions: Tensor) -> float:
    """dB, the mean of the `psnr` of `image_scores` over all images (n, 3, H, W) uint8."""
    return float(image_scores(images, reconstructions, None, with_ssim=False)["psnr"].double().mean())


def _ssim(restored: Tensor, truth: Tensor) -> Tensor:
    from torchmetrics.functional.image import structural_similarity_index_measure

    if min(truth.shape[-2:]) < SSIM_WINDOW:
        return torch.full((len(truth),), torch.nan)
    found = structural_similarity_index_measure(restored, truth, data_range=1.0, reduction="none")
    assert isinstance(found, Tensor)  # and not with its map besides, which was not asked for
    return found.reshape(-1)


def pictures_of(
    held_out: HeldOut, samples: Tensor | None = None, n: int = 16, n_samples: int = 30
) -> Pictures:
    """The first `n` held-out images as a model saw them, the first `n_samples` of `samples` (M, 3, H, W)."""
    side = held_out.pairs.side
    check_finite("scores of held-out images", held_out.scores[:n])
    originals = to_display(held_out.images[:n])
    return Pictures(
        originals=originals,
        reconstructions=to_display(held_out.reconstructions[:n]),
        scores=held_out.scores[:n].unflatten(1, (side, side)).numpy(),
        is_kept=held_out.is_kept[:n].unflatten(1, (side, side)).numpy(),
        samples=originals[:0] if samples is None else to_display(samples[:n_samples], "samples"),
    )
