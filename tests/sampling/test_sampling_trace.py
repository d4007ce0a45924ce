"""A trace draws what sampling draws, and keeps what each draw was made from."""

from __future__ import annotations

import pytest
import torch
from tiny_runs import tiny_stage1, tiny_transformer

from mvqlab.config import SamplingConfig
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs
from mvqlab.models.transformers import build_stage2
from mvqlab.sampling import sample_pairs
from mvqlab.sampling.filters import choose
from mvqlab.sampling.trace import drawing_law, grow, trace_sampling

K, SIDE, N, B = 23, 5, 7, 3
KINDS = {
    "code_first": {},
    "position_first": {"first": "position"},
    "score_order": {"order": "score"},
    "any_order": {"order": "random", "first": "position"},
    "raster": {"model": "raster", "match_parameters": False},
    "classes": {"condition": "class"},
}
SETTINGS = {
    "as set": SamplingConfig(),
    "narrow": SamplingConfig(temperature=0.7, code_top_k=5, position_top_k=3, position_top_p=0.6),
    "likeliest": SamplingConfig(temperature=0.0),
    "free": SamplingConfig(
        code_top_k=0, code_top_p=1.0, position_top_k=0, position_top_p=1.0, ordered_positions=False
    ),
}


def small(kind: str) -> PairModel:
    torch.manual_seed(0)
    config = tiny_transformer(position_layers=2, dropout=0.5, **KINDS[kind])
    n_pairs = SIDE**2 if kind == "raster" else N
    model = build_stage2(config, codebook_size=K, side=SIDE, n_pairs=n_pairs, n_classes=4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))  # so that no law is flat
    return model


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(11)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_draws_the_pairs_that_sampling_draws(kind: str, settings: SamplingConfig) -> None:
    """For the same seed and settings, to the last code; afterwards the generators stand at the same place."""
    model, mine, theirs = small(kind), seeded(), seeded()
    labels = torch.tensor([0, 3, 1]) if kind == "classes" else None
    trace = trace_sampling(model, B, settings, generator=mine, conditions=labels)
    pairs = sample_pairs(model, B, settings, generator=theirs, conditions=labels)
    assert torch.equal(trace.pairs.codes, pairs.codes) and torch.equal(trace.pairs.positions, pairs.positions)
    assert torch.equal(mine.get_state(), theirs.get_state())
    assert model.training, "the training mode is left as it was"


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_draw_was_possible_by_its_law(kind: str, settings: SamplingConfig) -> None:
    model = small(kind)
    labels = torch.tensor([0, 3, 1]) if kind == "classes" else None
    trace = trace_sampling(model, B, settings, generator=seeded(), conditions=labels)
    n = model.n_pairs
    assert trace.code_probabilities.shape == (B, n, K)
    assert trace.position_probabilities.shape == trace.is_allowed.shape == (B, n, SIDE**2)
    for law, drawn in (
        (trace.code_probabilities, trace.pairs.codes),
        (trace.position_probabilities, trace.pairs.positions),
    ):
        torch.testing.assert_close(law.sum(-1), torch.ones(B, n))
        assert (law.gather(-1, drawn.unsqueeze(-1)) > 0).all()
    assert (trace.position_probabilities[~trace.is_allowed] == 0).all()


@torch.no_grad()
def test_the_laws_are_the_models_own_given_the_pairs_before() -> None:
    """Without filters, a law is the softmax of the logits that the whole sequence gives."""
    model = small("code_first")
    trace = trace_sampling(model, B, SETTINGS["free"], generator=seeded())
    logits = model.eval()(trace.pairs)
    codes = logits.code_logits[..., :K].softmax(-1)
    torch.testing.assert_close(trace.code_probabilities, codes, atol=1e-5, rtol=1e-4)
    places = logits.position_logits[..., : SIDE**2].masked_fill(~trace.is_allowed, float("-inf"))
    torch.testing.assert_close(trace.position_probabilities, places.softmax(-1), atol=1e-5, rtol=1e-4)


def test_allowed_places_are_free_rise_and_leave_room() -> None:
    trace = trace_sampling(small("code_first"), B, generator=seeded())
    for b in range(B):
        positions = trace.pairs.positions[b].tolist()
        for n in range(N):
            last = positions[n - 1] if n else -1
            expected = [last < place <= SIDE**2 - N + n for place in range(SIDE**2)]
            assert trace.is_allowed[b, n].tolist() == expected
    assert trace.is_taken(0).sum() == 0
    assert trace.is_taken(2)[1].nonzero().flatten().tolist() == trace.pairs.positions[1, :2].tolist()


def test_top_codes_are_the_likeliest_in_falling_order() -> None:
    trace = trace_sampling(small("code_first"), B, SETTINGS["narrow"], generator=seeded())
    top = trace.top_codes(4)
    assert top.codes.shape == top.probabilities.shape == (B, N, 4)
    assert (top.probabilities.diff(dim=-1) <= 0).all()
    assert torch.equal(top.probabilities, trace.code_probabilities.gather(-1, top.codes))
    assert torch.equal(top.probabilities[..., 0], trace.code_probabilities.amax(-1))


def test_a_raster_model_has_each_place_in_its_turn() -> None:
    trace = trace_sampling(small("raster"), B, generator=seeded())
    assert torch.equal(trace.position_probabilities, torch.eye(SIDE**2).expand(B, -1, -1))


def test_nothing_is_filtered_where_nobody_asks_for_it() -> None:
    """The published filters delete rare codes, which are the objects of small models."""
    trace = trace_sampling(small("code_first"), B, generator=seeded())
    assert (trace.code_probabilities > 0).all()
    assert ((trace.position_probabilities > 0) == trace.is_allowed).all()


def test_the_law_by_hand() -> None:
    logits = torch.tensor([0.1, 0.5, 0.3, 0.1]).log()
    plain = drawing_law(logits, 1.0, 0, 1.0)
    torch.testing.assert_close(plain, torch.tensor([0.1, 0.5, 0.3, 0.1]))
    torch.testing.assert_close(drawing_law(logits, 1.0, 2, 1.0), torch.tensor([0.0, 0.625, 0.375, 0.0]))
    torch.testing.assert_close(drawing_law(logits, 1.0, 0, 0.6), torch.tensor([0.0, 0.625, 0.375, 0.0]))
    assert drawing_law(logits, 1.0, 0, 0.4).tolist() == [0.0, 1.0, 0.0, 0.0]
    assert drawing_law(logits, 0.0, 0, 1.0).tolist() == [0.0, 1.0, 0.0, 0.0]
    squares = torch.tensor([0.01, 0.25, 0.09, 0.01])
    torch.testing.assert_close(drawing_law(logits, 0.5, 0, 1.0), squares / squares.sum())


def test_draws_follow_the_law() -> None:
    logits = torch.tensor([0.4, 1.3, -0.2, 0.9, -1.0])
    drawn = choose(logits.expand(40_000, 5), 0.8, 4, 0.9, torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn, minlength=5) / 40_000
    torch.testing.assert_close(shares, drawing_law(logits, 0.8, 4, 0.9), atol=0.012, rtol=0)


@torch.no_grad()
def test_growing_images_end_as_the_decoded_ones() -> None:
    model = tiny_stage1()
    positions = torch.stack([torch.randperm(16)[:9].sort().values for _ in range(2)])
    pairs = Pairs(torch.randint(16, (2, 9)), positions, 4)
    images = grow(model, pairs, [1, 4, 9])
    assert images.shape == (3, 2, 3, 16, 16)
    torch.testing.assert_close(images[2], model.decode(pairs))
    torch.testing.assert_close(images[1], model.decode(Pairs(pairs.codes[:, :4], positions[:, :4], 4)))
    with pytest.raises(ValueError, match=r"9 pairs.*\[0, 10\]"):
        grow(model, pairs, [0, 4, 10])
    plain = tiny_stage1("mask.kind=none", "mask.mask_ratio=0")
    with pytest.raises(ValueError, match="PlainVQ"):
        grow(plain, pairs, [4])
