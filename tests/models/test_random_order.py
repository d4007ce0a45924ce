"""A Stackformer of any order (`transformer.order: random`): what its bits mean, and what it is taught."""

from __future__ import annotations

import math
from itertools import permutations
from pathlib import Path

import pytest
import torch
from tiny_runs import stage2_at_once_and_in_two, tiny, tiny_transformer

from mvqlab.config import ConfigError
from mvqlab.data import build_splits
from mvqlab.evaluation.likelihood.bits import image_bits, pair_bits
from mvqlab.models.mqvae import build_stage1
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs
from mvqlab.models.transformers import build_stage2
from mvqlab.training import load_stage2, tokenise, train_stage1
from mvqlab.training.stage2_step import stage2_step
from mvqlab.training.tokens import TokenSet

K, SIDE, N = 5, 3, 4


def transformer(order: str = "random", **changes: object) -> PairModel:
    torch.manual_seed(0)
    config = tiny_transformer(width=24, heads=3, position_layers=2, order=order, **changes)
    model = build_stage2(config, codebook_size=K, side=SIDE, n_pairs=N)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def pairs_of(seed: int, n_images: int = 1) -> Pairs:
    generator = torch.Generator().manual_seed(seed)
    places = torch.stack([torch.randperm(SIDE**2, generator=generator)[:N] for _ in range(n_images)])
    return Pairs(torch.randint(K, (n_images, N), generator=generator), places, SIDE)


def ordered(pairs: Pairs, order: tuple[int, ...]) -> Pairs:
    return Pairs(pairs.codes[:, order], pairs.positions[:, order], pairs.side)


@pytest.mark.parametrize("first", ["code", "position"])
@torch.no_grad()
def test_bits_are_a_bound_of_what_the_set_of_pairs_costs(first: str) -> None:
    """Exact by brute force: the set's probability is that of all its 24 orders together."""
    any_order, raster = transformer(first=first), transformer("raster", first=first)
    for seed in range(3):
        pairs = pairs_of(seed)
        orders = [ordered(pairs, order) for order in permutations(range(N))]
        nats = torch.tensor([float(image_bits(raster, one)) for one in orders]) * math.log(2)
        exact = -torch.logsumexp(-nats, dim=0) / math.log(2)
        bounds = torch.tensor([float(image_bits(any_order, one)) for one in orders])
        torch.testing.assert_close(bounds, nats / math.log(2) - math.log2(math.factorial(N)))
        assert bounds.mean() >= exact


@torch.no_grad()
def test_the_loss_counts_as_bits_do() -> None:
    model = transformer()
    pairs = pairs_of(1, 6)
    loss, bits = model.loss(pairs), pair_bits(model, pairs)
    assert loss.positions is not None
    assert float(loss.positions) == pytest.approx(float(bits.positions.mean()) * math.log(2) / N, rel=1e-5)
    assert float(loss.total) == pytest.approx(float(loss.codes + loss.positions), rel=1e-6)


def test_a_random_order_is_each_images_own_and_keeps_padding_last() -> None:
    pairs = pairs_of(2, 40)
    pairs.positions[::2, 2:], pairs.codes[::2, 2:] = SIDE**2, -1
    shuffled = pairs.shuffled(torch.Generator().manual_seed(0))
    assert torch.equal(shuffled.is_padding, pairs.is_padding)
    assert all(as_set(pairs, row) == as_set(shuffled, row) for row in range(40))
    first = pairs.positions[1::2, 0] == shuffled.positions[1::2, 0]
    assert 0 < first.sum() < len(first)
    assert torch.equal(shuffled.positions, pairs.shuffled(torch.Generator().manual_seed(0)).positions)


def as_set(pairs: Pairs, row: int) -> list[tuple[int, int]]:
    return sorted(zip(pairs.codes[row].tolist(), pairs.positions[row].tolist(), strict=True))


class Ear(torch.nn.Module):
    """A model that notes in which order it is shown pairs."""

    order = "random"

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.heard: list[list[int]] = []
        self.says = transformer()

    def loss(self, pairs: Pairs, conditions: object):
        self.heard.append(pairs.positions[0].tolist())
        return self.says.loss(pairs)._replace(total=self.weight.square())


def test_every_step_shows_pairs_in_another_order() -> None:
    ear, batch = Ear(), TokenSet(pairs_of(3), torch.zeros(1, dtype=torch.long))
    optimiser = torch.optim.SGD(ear.parameters(), 0.1)
    for _ in range(12):
        stage2_step(ear, optimiser, batch, tiny())
    assert len({tuple(order) for order in ear.heard}) > 5
    assert {tuple(sorted(order)) for order in ear.heard} == {tuple(sorted(batch.pairs.positions[0].tolist()))}


def test_a_run_goes_on_to_the_bit(tmp_path: Path) -> None:
    config = tiny(
        "transformer.order=random", "mask.mask_ratio=0.5", "stage2.steps=4", "stage2.checkpoint_every=2",
        "stage2.log_every=1",
    )  # fmt: skip
    stage1 = train_stage1(config, tmp_path / "stage1")
    at_once, gone_on = stage2_at_once_and_in_two(config, stage1, tmp_path, stop_at=3)
    for name, weight in at_once.state_dict().items():
        assert torch.equal(weight, gone_on.state_dict()[name]), name
    assert load_stage2(tmp_path / "cut", stage1).order == "random"


def test_tokens_lie_in_one_random_order_that_the_seed_gives() -> None:
    config = tiny("mask.mask_ratio=0.5")
    model, dataset = build_stage1(config).eval(), build_splits(config.data).validation
    first, again, other = (
        tokenise(model, dataset, order="random", seed=seed).pairs.positions for seed in (0, 0, 1)
    )
    rising = tokenise(model, dataset, seed=0).pairs.positions
    assert torch.equal(first, again) and not torch.equal(first, other) and not torch.equal(first, rising)
    assert torch.equal(first.sort(dim=1).values, rising)


def test_a_raster_transformer_has_no_other_order() -> None:
    with pytest.raises(ConfigError, match=r"transformer\.order=raster"):
        tiny("transformer.model=raster", "mask.kind=none", "mask.mask_ratio=0", "transformer.order=random")
    with pytest.raises(ConfigError, match=r"transformer\.first=code"):
        tiny("transformer.model=raster", "mask.kind=none", "mask.mask_ratio=0", "transformer.first=position")
