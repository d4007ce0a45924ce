"""What is forbidden is never drawn, whatever the noise, the temperature and the type of the numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mvqlab.sampling.filters import FORBIDDEN, Likeliest, at_temperature, choose, draw, top_k, top_p
from mvqlab.sampling.trace import drawing_law

TYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
TEMPERATURES = [1e-45, 1e-38, 1e-6, 0.7, 1.0, 1e6, 1e38, float("inf")]


def some_logits(dtype: torch.dtype, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    """Logits (64, 23), of which only two in each row are allowed, and which (64, 23)."""
    random = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(64, 23, generator=random)
    is_allowed = torch.zeros(64, 23, dtype=torch.bool)
    is_allowed.scatter_(1, torch.randn(64, 23, generator=random).topk(2).indices, True)
    return logits.to(dtype).masked_fill(~is_allowed, FORBIDDEN), is_allowed


@pytest.mark.parametrize("noise", [0.0, 1e-45, 1.0, 1e38, torch.inf])
@pytest.mark.parametrize("dtype", TYPES)
def test_noise_of_any_size_draws_nothing_forbidden(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, noise: float
) -> None:
    """0 / 0 is NaN, which argmax takes for the largest; some devices do draw a noise of exactly 0."""
    monkeypatch.setattr(Tensor, "exponential_", lambda self, **_: self.fill_(noise))
    logits, is_allowed = some_logits(dtype)
    whole = Likeliest(logits, torch.arange(23).expand(64, 23))
    for drawn in (draw(whole), draw(top_p(top_k(logits, 0), 0.9)), choose(logits, 0.7, 0, 1.0)):
        assert is_allowed.gather(1, drawn.unsqueeze(1)).all()


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("scale", [3.0, 6e4])  # nearly all that half precision holds
def test_a_temperature_of_any_size_draws_nothing_forbidden(
    dtype: torch.dtype, temperature: float, scale: float
) -> None:
    logits, is_allowed = some_logits(dtype, scale / 5)
    for k, p in ((0, 1.0), (5, 0.9), (1, 0.5)):
        drawn = choose(logits, temperature, k, p, torch.Generator().manual_seed(1))
        assert is_allowed.gather(1, drawn.unsqueeze(1)).all(), (k, p)
        law = drawing_law(logits, temperature, k, p)
        torch.testing.assert_close(law.sum(-1), torch.ones_like(law.sum(-1)))
        assert (law[~is_allowed] == 0.0).all()
    if temperature < 1e-30:
        assert torch.equal(drawn, logits.argmax(-1))
    if temperature > 1e30:  # the two that are allowed are alike
        torch.testing.assert_close(drawing_law(logits, temperature, 0, 1.0), is_allowed.to(law.dtype) / 2)


def test_a_temperature_changes_the_law_as_it_should() -> None:
    logits, _ = some_logits(torch.float64)
    expected = (logits / 0.7).softmax(-1)
    torch.testing.assert_close(at_temperature(logits, 0.7).softmax(-1), expected)
    assert torch.equal(at_temperature(logits.float(), 1.0).softmax(-1), logits.float().softmax(-1))


@pytest.mark.parametrize("dtype", TYPES)
def test_draws_follow_the_law_in_any_type(dtype: torch.dtype) -> None:
    """Noise in half precision is 0 for one draw in thousands, and takes few values."""
    shares = torch.tensor([0.6, 0.3, 0.0, 0.09, 0.01])
    logits = shares.log().to(dtype).expand(20_000, 5)
    drawn = choose(logits, 1.0, 0, 1.0, torch.Generator().manual_seed(2))
    found = torch.bincount(drawn, minlength=5) / len(drawn)
    assert found[2] == 0.0
    torch.testing.assert_close(found, shares, atol=0.012, rtol=0.0)


def test_the_fewest_that_reach_nothing_are_one() -> None:
    left = top_p(top_k(torch.tensor([[0.0, 2.0, 1.0]]), 0), 0.0)
    assert left.logits.isfinite().tolist() == [[True, False, False]] and left.indices[0, 0] == 1
