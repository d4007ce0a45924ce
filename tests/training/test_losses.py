"""The losses of stage 1: closed-form values, and which parameters each term moves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from mvqlab.config import LossConfig, load_config
from mvqlab.models.mqvae import Reconstruction
from mvqlab.support import pretrained
from mvqlab.support.pretrained import MissingWeightsError
from mvqlab.training.losses import (
    Judges,
    PerceptualLoss,
    adaptive_weight,
    adversarial_ramp,
    generator_loss,
    hinge_discriminator_loss,
    hinge_generator_loss,
)


@pytest.fixture(scope="module")
def perceptual() -> PerceptualLoss:
    return PerceptualLoss("random")


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2.0 - 1.0


def test_perceptual_loss_is_one_number_an_image(perceptual: PerceptualLoss) -> None:
    first, second = images(3, 3, 37, 41, seed=1), images(3, 3, 37, 41, seed=2)
    loss = perceptual(first, second)
    assert loss.shape == (3,)
    assert (loss > 0).all()
    torch.testing.assert_close(perceptual(first[1:2], second[1:2]), loss[1:2])  # no leak between images
    assert perceptual(first, first).tolist() == [0.0, 0.0, 0.0]


def test_perceptual_loss_says_that_an_untrained_net_is_untrained(perceptual: PerceptualLoss) -> None:
    assert perceptual.label == "random (untrained squeeze)"


def test_untrained_net_is_the_same_in_every_process(perceptual: PerceptualLoss) -> None:
    """Two points of a grid must be measured by one network, whatever was drawn before: this one."""
    ramp = torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 32, 32)
    assert perceptual(ramp, -ramp).item() == pytest.approx(0.21557, rel=1e-4)
    torch.manual_seed(5)
    assert PerceptualLoss("random")(ramp, -ramp).item() == perceptual(ramp, -ramp).item()


def test_making_the_loss_leaves_the_random_state_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    PerceptualLoss("random")
    assert torch.equal(torch.rand(3), expected)


def test_a_parent_in_training_does_not_wake_its_dropout(perceptual: PerceptualLoss) -> None:
    """The released code's loss is noisy, because the parent's .train() undoes the .eval()."""
    parent = nn.ModuleDict({"loss": perceptual, "model": nn.Linear(2, 2)}).train()
    assert not any(module.training for module in perceptual.lpips.modules())
    assert any(isinstance(module, nn.Dropout) for module in perceptual.lpips.modules())
    first, second = images(2, 3, 32, 32, seed=1), images(2, 3, 32, 32, seed=2)
    assert torch.equal(parent["loss"](first, second), parent["loss"](first, second))


def test_the_network_is_neither_saved_nor_trained(perceptual: PerceptualLoss) -> None:
    parent = nn.ModuleDict({"loss": perceptual, "model": nn.Linear(2, 2)})
    assert set(parent.state_dict()) == {"model.weight", "model.bias"}
    assert len(list(parent.parameters())) == 2
    assert not any(parameter.requires_grad for parameter in perceptual.lpips.parameters())


def test_the_network_moves_with_its_parent() -> None:
    """It is outside the module tree, which `.to` walks."""
    parent = nn.ModuleDict({"loss": PerceptualLoss("random")}).to(torch.float64)
    assert {tensor.dtype for tensor in parent["loss"].lpips.state_dict().values()} == {torch.float64}


def test_perceptual_loss_moves_the_reconstruction(perceptual: PerceptualLoss) -> None:
    restored = images(2, 3, 32, 32, seed=1).requires_grad_()
    perceptual(restored, images(2, 3, 32, 32, seed=2)).mean().backward()
    assert restored.grad is not None
    assert restored.grad.isfinite().all()
    assert (restored.grad.flatten(1).norm(dim=1) > 0).all()


def test_a_flat_image_gives_finite_gradients(perceptual: PerceptualLoss) -> None:
    """A decoder may well begin with one colour; LPIPS divides by the norm of its features."""
    for level in (-1.0, 0.0, 1.0):
        restored = torch.full((1, 3, 32, 32), level, requires_grad=True)
        perceptual(restored, images(1, 3, 32, 32)).mean().backward()
        assert restored.grad is not None and restored.grad.isfinite().all()


@pytest.mark.parametrize("side", [8, 17, 31])
def test_small_images_are_enlarged(perceptual: PerceptualLoss, side: int) -> None:
    """The backbones pool images under 32 pixels away and stop with an opaque error."""
    first, second = images(2, 3, side, 33, seed=1), images(2, 3, side, 33, seed=2)
    enlarged = [nn.functional.interpolate(one, size=(32, 33), mode="bilinear") for one in (first, second)]
    torch.testing.assert_close(perceptual(first, second), perceptual(*enlarged))


@pytest.mark.parametrize("net", ["vgg", "alex", "squeeze"])
def test_a_missing_backbone_stops_at_once(net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MissingWeightsError, match=pretrained.lpips_backbone(net).filename):
        PerceptualLoss(net)


@pytest.mark.parametrize("net", ["vgg", "alex", "squeeze"])
def test_a_backbone_on_disk_is_the_one_that_judges(
    net: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, perceptual: PerceptualLoss
) -> None:
    """Weights go into the right layers: compared with what lpips makes of torchvision's own model."""
    import lpips  # the fixture has let torchvision in
    import torchvision

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = {"vgg": "vgg16", "alex": "alexnet", "squeeze": "squeezenet1_1"}[net]
    torch.manual_seed(11)
    source = getattr(torchvision.models, name)(weights=None)
    file = pretrained.lpips_backbone(net)
    file.folder.mkdir(parents=True)
    torch.save(source.features.state_dict(prefix="features."), file.path)
    with monkeypatch.context() as patched:
        patched.setattr(torchvision.models, name, lambda pretrained: source)
        reference = lpips.LPIPS(net=net, verbose=False)

    first, second = images(2, 3, 64, 64, seed=1), images(2, 3, 64, 64, seed=2)
    ours = PerceptualLoss(net)
    torch.testing.assert_close(ours(first, second), reference(first, second).flatten())
    assert ours.label == net


def test_hinge_losses_have_their_closed_form() -> None:
    real, fake = torch.tensor([[2.0, 0.5], [-1.0, 1.0]]), torch.tensor([[-3.0, 0.0], [1.0, -0.5]])
    # real: (0 + 0.5 + 2 + 0) / 4; fake: (0 + 1 + 2 + 0.5) / 4
    assert hinge_discriminator_loss(real, fake).item() == pytest.approx(0.5 * (0.625 + 0.875))
    assert hinge_generator_loss(fake).item() == pytest.approx(0.625)


def test_hinge_losses_push_the_right_way() -> None:
    """Swapped signs train a discriminator that praises fakes, and look fine in a log."""
    real, fake = torch.zeros(5, requires_grad=True), torch.zeros(5, requires_grad=True)
    hinge_discriminator_loss(real, fake).backward()
    assert (real.grad < 0).all() and (fake.grad > 0).all()
    convinced = torch.full((5,), 3.0, requires_grad=True)
    hinge_discriminator_loss(convinced, -convinced.detach()).backward()
    assert (convinced.grad == 0).all()
    judged = torch.zeros(5, requires_grad=True)
    hinge_generator_loss(judged).backward()
    assert (judged.grad < 0).all()


def test_discriminator_loss_moves_only_the_discriminator() -> None:
    decoder, discriminator = nn.Linear(3, 3), nn.Linear(3, 1)
    made = decoder(images(7, 3))
    hinge_discriminator_loss(discriminator(images(7, 3, seed=2)), discriminator(made.detach())).backward()
    assert decoder.weight.grad is None
    assert discriminator.weight.grad is not None and discriminator.weight.grad.norm() > 0


def test_adaptive_weight_is_the_ratio_of_gradient_norms() -> None:
    weight = torch.tensor([1.0, 1.0], requires_grad=True)
    # gradients (3, 4) of norm 5 and (0, 2) of norm 2
    ratio = adaptive_weight((weight * torch.tensor([3.0, 4.0])).sum(), 2.0 * weight[1], weight, cap=10.0)
    assert ratio.item() == pytest.approx(5.0 / 2.0001)
    assert not ratio.requires_grad


def test_adaptive_weight_is_capped() -> None:
    weight = torch.ones(2, requires_grad=True)
    assert adaptive_weight(weight.sum(), 1e-9 * weight.sum(), weight, cap=0.75).item() == 0.75
    assert adaptive_weight(0.0 * weight.sum(), weight.sum(), weight, cap=0.75).item() == 0.0


class Praise(nn.Module):
    """A discriminator whose logits are `strength` times the pixels."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = strength

    def forward(self, images: Tensor) -> Tensor:
        return self.strength * images


def weight_at(ratio: float, config: LossConfig, ramp: float = 1.0) -> float:
    """The adversarial weight where the reconstruction's gradient is `ratio` times the discriminator's."""
    last_layer = torch.ones(1, requires_grad=True)
    made = last_layer.double() * torch.ones(2, 3, 4, 4)  # gradients: 1 of L1, `strength` of praise
    nothing = torch.zeros((), dtype=made.dtype)
    judges = Judges(None, Praise(1.0 / ratio - 1e-4))
    reconstruction = Reconstruction(made, None, None, None, nothing)
    loss = generator_loss(config, judges, reconstruction, torch.zeros_like(made), last_layer, ramp)
    torch.testing.assert_close(loss.total, loss.l1 + loss.adversarial_weight * loss.adversarial)
    return float(loss.adversarial_weight)


@pytest.mark.parametrize("preset", ["ffhq256", "imagenet256"])
@pytest.mark.parametrize(
    ("ratio", "weight"), [(0.1, 0.075), (1.0, 0.75), (1.2, 0.9), (4 / 3, 1.0), (2.0, 1.0), (500.0, 1.0)]
)
def test_published_presets_weigh_the_discriminator_as_the_released_code(
    preset: str, ratio: float, weight: float
) -> None:
    """`disc_weight` times the ratio, then at most `disc_weight_max`; the ramp, if any, comes after both."""
    published = load_config(preset).loss
    assert weight_at(ratio, published) == pytest.approx(weight, rel=1e-5)
    assert weight_at(ratio, published, ramp=0.5) == pytest.approx(0.5 * weight, rel=1e-5)


def test_a_cap_holds_whatever_the_weight_is() -> None:
    assert weight_at(3.0, LossConfig(adversarial_weight=4.0, adversarial_cap=2.5)) == pytest.approx(2.5)
    assert weight_at(3.0, LossConfig(adversarial_weight=0.1, adversarial_cap=2.5)) == pytest.approx(0.3)


def test_adaptive_weight_leaves_the_graph_and_the_gradients_alone() -> None:
    """The total loss is still to be differentiated, and optimisers add up what is in .grad."""
    decoder = nn.Linear(3, 3)
    made = decoder(images(7, 3))
    reconstruction, adversarial = made.abs().mean(), -made.mean()
    balance = adaptive_weight(reconstruction, adversarial, decoder.weight, cap=1.0)
    assert decoder.weight.grad is None
    (reconstruction + balance * adversarial).backward()
    assert decoder.weight.grad is not None


def test_adaptive_weight_hides_no_error() -> None:
    """The released code catches RuntimeError here, out-of-memory included."""
    weight, other = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="not have been used"):
        adaptive_weight(other.sum(), weight.sum(), weight, cap=1.0)


def test_ramp_is_off_before_its_start_and_full_after_it() -> None:
    assert [adversarial_ramp(step, 2, 3) for step in range(7)] == [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert [adversarial_ramp(step, 1, 0) for step in range(3)] == [0.0, 1.0, 1.0]
    assert adversarial_ramp(0, 0, 0) == 1.0  # the released code: on from the first step


@given(st.integers(0, 2000), st.integers(0, 1000), st.integers(0, 1000))
def test_ramp_never_falls_and_stays_in_range(step: int, start: int, ramp: int) -> None:
    now, later = adversarial_ramp(step, start, ramp), adversarial_ramp(step + 1, start, ramp)
    assert 0.0 <= now <= later <= 1.0
    assert (now > 0.0) == (step >= start)
