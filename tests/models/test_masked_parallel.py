"""The masked parallel model: what its bits mean, what it is taught, and that it runs as the others do."""

from __future__ import annotations

import math
from itertools import combinations, permutations
from pathlib import Path

import pytest
import torch
from tiny_runs import stage2_at_once_and_in_two, tiny, tiny_transformer
from torch import Tensor

import mvqlab.models.masked_parallel as masked_parallel
from mvqlab.config import ConfigError, SamplingConfig
from mvqlab.data import build_splits
from mvqlab.evaluation.likelihood.bits import bits_of_each, image_bits, pair_bits
from mvqlab.evaluation.likelihood.causality import logit_changes
from mvqlab.evaluation.operations import drawing_operations, operations
from mvqlab.interop.onnx_export import ExportError, export_graphs
from mvqlab.models.masked_parallel import MaskedParallel
from mvqlab.models.mqvae import build_stage1
from mvqlab.models.pair_model import NoOrderError
from mvqlab.models.pairs import NO_CODE, Pairs
from mvqlab.models.start import PAD
from mvqlab.models.transformers import build_stage2
from mvqlab.sampling import sample_images, sample_plainly
from mvqlab.sampling.trace import trace_sampling
from mvqlab.training import build_transformer, load_stage2, tokenise, train_stage1

K, SIDE = 3, 2
L = SIDE**2


def model_of(n_pairs: int = 2, side: int = SIDE, has_end: bool = False, **changes: object) -> MaskedParallel:
    torch.manual_seed(0)
    settings = {"width": 12, "heads": 2, "model": "masked_parallel", "match_parameters": False, **changes}
    model = build_stage2(
        tiny_transformer(**settings),
        codebook_size=K,
        side=side,
        n_pairs=n_pairs,
        has_end=has_end,
        n_classes=2,
    )
    assert isinstance(model, MaskedParallel)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def one_image() -> Pairs:
    return Pairs(torch.tensor([[2, 0]]), torch.tensor([[0, 3]]), SIDE)


def nats_where(model: MaskedParallel, tokens: Tensor, hidden: tuple[int, ...]) -> Tensor:
    """Nats of each place (L,) of `tokens` (L,) if those are `hidden`, of K codes or none."""
    read = tokens.clone()
    read[list(hidden)] = model.hidden
    return -model.read(read[None])[0].log_softmax(-1)[torch.arange(L), tokens]


@torch.no_grad()
def test_bits_are_those_of_drawing_places_one_by_one_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact by brute force over all 24 orders; the estimate comes near it."""
    model, pairs = model_of(), one_image()
    tokens = model.tokens(pairs)[0]
    assert tokens.tolist() == [2, K, K, 0]
    nats = {
        hidden: nats_where(model, tokens, hidden)
        for n in range(1, L + 1)
        for hidden in combinations(range(L), n)
    }
    of_orders = [
        sum(float(nats[tuple(sorted(order[n:]))][order[n]]) for n in range(L))
        for order in permutations(range(L))
    ]
    exact = sum(of_orders) / len(of_orders) / math.log(2)
    monkeypatch.setattr(masked_parallel, "N_ESTIMATES", 1000)
    assert float(image_bits(model, pairs)) == pytest.approx(exact, rel=0.02)


@torch.no_grad()
def test_bits_of_code_and_place_are_those_of_what_stands_there() -> None:
    model, tokens = model_of(), torch.tensor([[2, K, K, 0]])
    logits = model.read(torch.full_like(tokens, model.hidden))
    codes, positions = model._nats(logits, tokens)
    torch.testing.assert_close(
        codes + positions, -logits.log_softmax(-1).gather(2, tokens[..., None])[..., 0]
    )
    assert torch.equal(codes == 0.0, tokens == K)
    p_dropped = logits.softmax(-1)[0, :, K]
    torch.testing.assert_close(
        positions[0], -torch.stack([1 - p_dropped, p_dropped])[[0, 1, 1, 0], range(L)].log()
    )


@torch.no_grad()
def test_bits_of_pairs_make_up_those_of_the_image_and_padding_costs_nothing() -> None:
    model = model_of(n_pairs=L, has_end=True)
    pairs = Pairs(
        torch.tensor([[2, 0, 1], [1, NO_CODE, NO_CODE]]), torch.tensor([[0, 2, 3], [1, L, L]]), SIDE
    )
    each, whole = bits_of_each(model, pairs), image_bits(model, pairs)
    torch.testing.assert_close(each.sum(dim=1), whole)
    assert torch.equal(each == 0.0, pairs.is_padding)
    torch.testing.assert_close(image_bits(model, pairs), whole, rtol=0, atol=0)  # the same at every call
    longer = image_bits(model, pairs.widened(4))
    torch.testing.assert_close(longer, whole)


@torch.no_grad()
def test_a_full_grid_has_codes_alone() -> None:
    model = model_of(n_pairs=L)
    pairs = Pairs(torch.tensor([[2, 0, 1, 1]]), torch.arange(L)[None], SIDE)
    assert model.read(model.tokens(pairs)).shape == (1, L, K) and model.predicts == ("code",)
    assert float(pair_bits(model, pairs).positions) == 0.0 and model.loss(pairs).positions is None


@torch.no_grad()
def test_as_much_is_hidden_as_the_share_says_and_weighed_by_it() -> None:
    model, pairs = model_of(n_pairs=3, side=4), Pairs(torch.tensor([[2, 0, 1]]), torch.tensor([[0, 3, 9]]), 4)
    n_images = 64
    many = Pairs(pairs.codes.repeat(n_images, 1), pairs.positions.repeat(n_images, 1), 4)
    shares = torch.arange(n_images) / n_images
    read: list[Tensor] = []
    of_model = model.read

    def noted(tokens: Tensor, conditions: Tensor | None = None) -> Tensor:
        read.append(tokens)
        return of_model(tokens, conditions)

    model.read = noted  # type: ignore[method-assign]
    codes, positions = model._nats_where_hidden(many, None, shares, torch.Generator().manual_seed(0))
    is_hidden = read[0] == model.hidden
    expected = [max(1, math.ceil(float(share) * 16)) for share in shares]
    assert is_hidden.sum(dim=1).tolist() == expected
    assert torch.equal(positions > 0.0, is_hidden) and not (codes[~is_hidden] > 0.0).any()
    plain, _ = model._nats(of_model(read[0]), model.tokens(many))
    torch.testing.assert_close(codes, plain * is_hidden * (16 / torch.tensor(expected))[:, None])


def test_training_hides_more_than_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """cos(pi u / 2) has the mean 2 / pi; an even share 1 / 2."""
    model, seen = model_of(), []
    pairs = Pairs(one_image().codes.repeat(4000, 1), one_image().positions.repeat(4000, 1), SIDE)

    def noted(pairs: Pairs, conditions: object, shares: Tensor, generator: object) -> tuple[Tensor, Tensor]:
        seen.append(float(shares.mean()))
        return torch.zeros(len(pairs), L), torch.zeros(len(pairs), L)

    monkeypatch.setattr(model, "_nats_where_hidden", noted)
    model.train().loss(pairs)
    model.eval().loss(pairs)
    assert seen == [pytest.approx(2 / math.pi, abs=0.02), pytest.approx(0.5, abs=0.001)]


def test_every_parameter_learns_and_evaluation_leaves_the_seed_alone() -> None:
    model = model_of()
    pairs = Pairs(one_image().codes.repeat(32, 1), one_image().positions.repeat(32, 1), SIDE)
    model.train().loss(pairs).total.backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []
    before = torch.get_rng_state()
    model.eval().loss(pairs)
    model.nats_of_each(pairs)
    assert torch.equal(torch.get_rng_state(), before)


@torch.no_grad()
def test_every_place_hears_every_other_and_padding_of_captions_nobody() -> None:
    model = model_of(condition="caption", vocabulary_size=256, caption_length=4)
    tokens = torch.tensor([[2, K, model.hidden, model.hidden]])
    caption = torch.tensor([[1, 7, PAD, PAD]])
    before = model.read(tokens, caption)
    for place in (0, 1):
        changed = tokens.clone()
        changed[0, place] = 1
        moved = (model.read(changed, caption) - before).abs().amax(-1)[0]
        assert (moved > 1e-6).all()
    with torch.no_grad():
        model.start.places[2:] += 5.0  # of padding
    torch.testing.assert_close(model.read(tokens, caption), before)
    assert not torch.allclose(model.read(tokens, torch.tensor([[1, 8, PAD, PAD]])), before)


def test_a_run_goes_on_to_the_bit(tmp_path: Path) -> None:
    config = tiny(
        "transformer.model=masked_parallel", "mask.mask_ratio=0.5",
        "stage2.steps=4", "stage2.checkpoint_every=2", "stage2.log_every=1",
    )  # fmt: skip
    stage1 = train_stage1(config, tmp_path / "stage1")
    at_once, gone_on = stage2_at_once_and_in_two(config, stage1, tmp_path, stop_at=3)
    for name, weight in at_once.state_dict().items():
        assert torch.equal(weight, gone_on.state_dict()[name]), name
    loaded = load_stage2(tmp_path / "cut", stage1)
    pairs = tokenise(stage1, build_splits(config.data).validation).pairs
    torch.testing.assert_close(image_bits(loaded, pairs), image_bits(gone_on.eval(), pairs))
    drawn = sample_images(loaded, stage1, config)
    assert drawn.images.shape == (10, 3, 16, 16) and drawn.pairs.n_pairs == stage1.n_kept


def test_drawing_costs_a_pass_over_the_grid_a_step() -> None:
    config = tiny("transformer.model=masked_parallel", "mask.mask_ratio=0.5", "sampling.parallel_steps=5")
    stage1 = build_stage1(config).eval()
    model = build_transformer(config, stage1).eval()
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    pairs = stage1.encode(images).pairs
    stage1.requires_grad_(False), model.requires_grad_(False)
    read = operations(lambda: model.read(model.tokens(pairs)))
    decoded = operations(lambda: stage1.decode(pairs))
    assert drawing_operations(model, stage1, pairs, None, config) == pytest.approx(
        (5 * read + decoded) / 2 / 1e9
    )


def test_what_needs_an_order_is_refused_in_words(tmp_path: Path) -> None:
    model, pairs = model_of(), one_image()
    generator = torch.Generator().manual_seed(0)
    for ask in (
        lambda: model(pairs),
        lambda: trace_sampling(model, 1, generator=generator),
        lambda: sample_plainly(model, 1, generator=generator),
        lambda: logit_changes(model, pairs, "code"),
    ):
        with pytest.raises(NoOrderError, match="stackformer"):
            ask()
    with pytest.raises(ExportError, match="masked_parallel"):
        export_graphs(model, tmp_path)
    for change in ("order=score", "first=position"):
        with pytest.raises(ConfigError, match=r"transformer\.model=stackformer"):
            tiny("transformer.model=masked_parallel", f"transformer.{change}")


def test_settings_that_came_later_are_written_where_they_are_given_alone() -> None:
    assert "parallel_steps" not in SamplingConfig().model_dump()
    assert SamplingConfig(parallel_steps=4).model_dump()["parallel_steps"] == 4


def test_places_begin_apart_from_one_another_and_near_their_neighbours() -> None:
    places = masked_parallel.waves(8, 32)
    distances = torch.cdist(places, places)
    assert places.shape == (64, 32) and distances[~torch.eye(64, dtype=torch.bool)].min() > 0.05
    assert distances[27, 28] < distances[27, 30] and distances[27, 35] < distances[27, 51]
    torch.testing.assert_close(distances[27, 28], distances[27, 35])  # a column on, a row on
    assert masked_parallel.waves(4, 6).shape == (16, 6)  # also where four do not divide the width


@torch.no_grad()
def test_batches_hide_other_places_and_their_mean_is_the_bound() -> None:
    """The loss of a batch is the same at each call; over many batches it comes to what all orders cost."""
    model = model_of()
    images = [
        Pairs(torch.tensor([[a, b]]), torch.tensor([[p, q]]), SIDE)
        for a in range(K)
        for b in range(K)
        for p, q in combinations(range(L), 2)
    ]
    exact, found = [], []
    for pairs in images:
        tokens = model.tokens(pairs)[0]
        nats = {
            hidden: nats_where(model, tokens, hidden)
            for n in range(1, L + 1)
            for hidden in combinations(range(L), n)
        }
        orders = list(permutations(range(L)))
        exact += [
            sum(float(nats[tuple(sorted(order[n:]))][order[n]]) for n in range(L)) for order in orders[::5]
        ]
        assert model.loss(pairs).total == model.loss(pairs).total
        found += [float(model.loss(pairs).total) * 2]  # of both pairs
    codes = torch.cat([pairs.codes for pairs in images])
    positions = torch.cat([pairs.positions for pairs in images])
    whole = Pairs(codes, positions, SIDE)
    orders = torch.Generator().manual_seed(0)
    for _ in range(200):  # the same images in batches of other neighbours
        rows = torch.randperm(len(whole), generator=orders)[:18]
        found.append(float(model.loss(whole[rows]).total) * 2)
    assert sum(found[-200:]) / 200 == pytest.approx(sum(exact) / len(exact), rel=0.03)


@torch.no_grad()
def test_other_pairs_hide_other_places_and_the_same_ones_the_same() -> None:
    model, hidden = model_of(side=4, n_pairs=3), []
    of_model = model.read

    def noted(tokens: Tensor, conditions: Tensor | None = None) -> Tensor:
        hidden.append(tokens == model.hidden)
        return of_model(tokens, conditions)

    model.read = noted  # type: ignore[method-assign]
    positions = torch.tensor([[0, 5, 9]]).repeat(8, 1)
    first, other = (Pairs(torch.full((8, 3), code), positions, 4) for code in (0, 1))
    for pairs in (first, other, first):
        model.loss(pairs)
    assert not torch.equal(hidden[0], hidden[1]) and torch.equal(hidden[0], hidden[2])
    hidden.clear()
    for pairs in (first, other, first):
        model.nats_of_each(pairs)
    n = masked_parallel.N_ESTIMATES
    assert not torch.equal(hidden[0], hidden[n]) and torch.equal(hidden[0], hidden[2 * n])
