"""What stage 1 is trained with besides L1: a perceptual loss and a discriminator's verdict.

The perceptual loss is LPIPS (Zhang et al. 2018), the adversarial part VQGAN's (Esser et al. 2021,
section 3.1): hinge losses, and a weight that keeps the two gradients in proportion (METHOD, stage 1, 5).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from mvqlab.config import LossConfig
from mvqlab.models.mqvae import Reconstruction
from mvqlab.support import pretrained
from mvqlab.support.torchvision_guard import import_torchvision

SMALLEST_SIDE = 32  # pixels: below it AlexNet and SqueezeNet pool their feature maps away
UNTRAINED_NET = "squeeze"  # of the three it keeps the most of a small image at the least cost
UNTRAINED_SEED = 20_230_613


class PerceptualLoss(nn.Module):
    """LPIPS, frozen: how differently a network for recognition sees two images.

    `net` is the backbone: vgg (published), alex, squeeze, or `random`, an *untrained* SqueezeNet with
    the same weights in every process. The last needs no file, and is not a perceptual score: `label`
    says so.

    The network is kept out of the module tree. So it is neither saved nor counted nor optimised with
    the model that holds it, and a parent's `.train()` cannot wake its dropout (in the released code it
    does, METHOD weak point 4).

    Raises MissingWeightsError if the backbone's weights are not on disk; nothing is downloaded.
    """

    def __init__(self, net: str) -> None:
        super().__init__()
        self.net = net
        self.label = f"random (untrained {UNTRAINED_NET})" if net == "random" else net
        self._outside_the_tree = (_untrained_lpips() if net == "random" else _pretrained_lpips(net),)

    @property
    def lpips(self) -> nn.Module:
        """The frozen network."""
        return self._outside_the_tree[0]

    def forward(
        self, reconstructions: Float[Tensor, "B 3 H W"], images: Float[Tensor, "B 3 H W"]
    ) -> Float[Tensor, " B"]:
        """LPIPS of each image, no unit, 0 for equal images; both inputs in [-1, 1].

        Images with a side under 32 pixels are enlarged bilinearly, so that it has 32.
        """
        return self.lpips(_enlarge(reconstructions), _enlarge(images)).flatten()  # (B, 1, 1, 1) -> (B,)

    def _apply(self, function: Callable[[Tensor], Tensor], recurse: bool = True) -> PerceptualLoss:
        # `.to(device)` walks the module tree, which the network is not part of.
        self.lpips._apply(function, recurse)
        return super()._apply(function, recurse)


def hinge_discriminator_loss(
    real_logits: Float[Tensor, "*real"], fake_logits: Float[Tensor, "*fake"]
) -> Float[Tensor, ""]:
    """Hinge loss of a discriminator whose logits, of any shape, should be > 1 on real, < -1 on fake.

    Source: VQGAN's released loss, the mean of both halves.
    """
    return 0.5 * (F.relu(1.0 - real_logits).mean() + F.relu(1.0 + fake_logits).mean())


def hinge_generator_loss(fake_logits: Float[Tensor, "*fake"]) -> Float[Tensor, ""]:
    """What the generator minimises: minus the discriminator's mean logit on its images (VQGAN's loss)."""
    return -fake_logits.mean()


def adaptive_weight(
    reconstruction_loss: Float[Tensor, ""],
    generator_loss: Float[Tensor, ""],
    last_layer_weight: Float[Tensor, "*weight"],
    cap: float,
    scale: float = 1.0,
) -> Float[Tensor, ""]:
    """VQGAN's lambda: how much larger the reconstruction's gradient is than the discriminator's.

    The gradients' norms are compared at the decoder's last weight; `scale` times the
    ratio is held in [0, cap] and carries no gradient itself. The graphs of both losses stay intact.

    Source: VQGAN, equation 7; the released code's loss for `scale` (`disc_weight`), which comes before the
    cap (`disc_weight_max`). Raises RuntimeError if a loss does not depend on `last_layer_weight`.
    """
    (reconstruction,) = torch.autograd.grad(reconstruction_loss, last_layer_weight, retain_graph=True)
    (adversarial,) = torch.autograd.grad(generator_loss, last_layer_weight, retain_graph=True)
    ratio = reconstruction.float().norm() / (adversarial.float().norm() + 1e-4)
    return (scale * ratio).clamp(0.0, cap).detach()


def adversarial_ramp(step: int, start: int, ramp: int) -> float:
    """Share of the adversarial weight in force at `step`: 0 before `start`, 1 from `start + ramp` on.

    In between it grows linearly and is above 0 already at `start`, when the discriminator enters.
    """
    return min(1.0, max(0.0, (step - start + 1) / (ramp + 1)))


def _enlarge(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H2 W2"]:
    height, width = images.shape[-2:]
    if min(height, width) >= SMALLEST_SIDE:
        return images
    size = (max(height, SMALLEST_SIDE), max(width, SMALLEST_SIDE))
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False)


def _bare_lpips(net: str) -> Any:
    """LPIPS with its trained linear heads, which come with the package, on an untrained backbone."""
    import_torchvision()  # before lpips, which imports it
    import lpips

    with warnings.catch_warnings():
        # lpips calls torchvision by arguments that torchvision has renamed since.
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        network = lpips.LPIPS(net=net, pnet_rand=True, verbose=False)
    return network.eval().requires_grad_(False)


def _untrained_lpips() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(UNTRAINED_SEED)
        return _bare_lpips(UNTRAINED_NET)


def _pretrained_lpips(net: str) -> nn.Module:
    weights = pretrained.load(pretrained.lpips_backbone(net))
    with torch.random.fork_rng(devices=[]):
        network = _bare_lpips(net)
    # lpips cuts torchvision's `features.5` out as `slice2.5`, without changing the number.
    own_names = network.net.state_dict()
    network.net.load_state_dict({name: weights[f"features.{name.split('.', 1)[1]}"] for name in own_names})
    return network


class Stage1Loss(NamedTuple):
    """The terms of stage 1's loss, means over a batch. `total` is what is minimised."""

    total: Float[Tensor, ""]
    l1: Float[Tensor, ""]
    perceptual: Float[Tensor, ""]
    quantizer: Float[Tensor, ""]
    adversarial: Float[Tensor, ""]
    adversarial_weight: Float[Tensor, ""]
    scorer: Float[Tensor, ""] | None = None  # none where the scorer has no loss of its own


class Judges(NamedTuple):
    """The networks that look at reconstructions; either may be missing."""

    perceptual: PerceptualLoss | None
    discriminator: nn.Module | None


def generator_loss(
    config: LossConfig,
    judges: Judges,
    made: Reconstruction,
    images: Float[Tensor, "B 3 H W"],
    last_layer: Float[Tensor, "*weight"],
    ramp: float,
) -> Stage1Loss:
    """Stage 1's loss for the encoder, mask, de-mask module and decoder (METHOD, stage 1, 5).

    images: the originals, in [-1, 1]. last_layer: the decoder's last weight, at which the adversarial
    gradient is scaled to the reconstruction's. ramp: share of the adversarial weight in force, 0 to 1.
    """
    zero = images.new_zeros(())
    l1, squared = F.l1_loss(made.images, images), F.mse_loss(made.images, images)
    perceptual = judges.perceptual(made.images, images).mean() if judges.perceptual else zero
    reconstruction = l1 + config.squared_weight * squared + config.perceptual_weight * perceptual
    adversarial, weight = zero, zero
    if judges.discriminator is not None and ramp > 0.0:
        adversarial = hinge_generator_loss(judges.discriminator(made.images))
        cap, scale = config.adversarial_cap, config.adversarial_weight
        weight = ramp * adaptive_weight(reconstruction, adversarial, last_layer, cap, scale)
    total = reconstruction + weight * adversarial + made.quantizer_loss
    of_scorer = None
    if config.scorer_weight:
        of_scorer = scorer_loss(made, images)
        total = total + config.scorer_weight * of_scorer
    return Stage1Loss(total, l1, perceptual, made.quantizer_loss, adversarial, weight, of_scorer)


def scorer_loss(made: Reconstruction, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, ""]:
    """How far scores are from telling what dropped regions lose: an allocation by information.

        mean over dropped l of (logit s_l - log e_l)^2      e_l: squared error of region l, of [0, 1]

    No gradient passes to e. A score then is an error that is expected, and the regions that are kept are
    those from which most would be missing. This is the lab's own plain form of what InfoTok (arXiv
    2512.16975) does for videos; the paper's scores learn by the product with kept features instead. 0 where
    nothing is dropped.
    """
    of_regions = region_errors(images, made.images.detach(), made.pairs.side)  # (B, L)
    told = made.scores.logit(eps=1e-6)  # (B, L)
    distances = (told - of_regions.clamp_min(1e-6).log()).square()
    is_dropped = ~made.is_kept
    return (distances * is_dropped).sum() / is_dropped.sum().clamp_min(1)


def region_errors(
    images: Float[Tensor, "B 3 H W"], reconstructions: Float[Tensor, "B 3 H W"], side: int
) -> Float[Tensor, "B L"]:
    """Mean squared error of each region's pixels, of [0, 1]; images in [-1, 1], on a grid of side * side."""
    errors = (reconstructions.clamp(-1.0, 1.0) - images).square().mean(dim=1, keepdim=True) / 4.0
    return F.avg_pool2d(errors, images.shape[-1] // side).flatten(1)  # (B, 1, H, W) -> (B, L)
