"""Drawing all places at once: the laws that it draws from, and what it promises."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import tiny_transformer

from mvqlab.config import SamplingConfig
from mvqlab.models.masked_parallel import MaskedParallel
from mvqlab.models.pairs import Pairs
from mvqlab.models.transformers import build_stage2
from mvqlab.sampling import sample_pairs
from mvqlab.sampling.completion import box, complete_pairs, part_of
from mvqlab.sampling.draw_pairs import UNFILTERED
from mvqlab.sampling.parallel import hidden_after, sample_in_parallel

K, SIDE = 5, 3
L = SIDE**2


def model_of(n_pairs: int, has_end: bool = False, scale: float = 0.3, **changes: object) -> MaskedParallel:
    torch.manual_seed(0)
    given = {"width": 12, "heads": 2, "model": "masked_parallel", "match_parameters": False, **changes}
    model = build_stage2(
        tiny_transformer(**given), codebook_size=K, side=SIDE, n_pairs=n_pairs, has_end=has_end, n_classes=2
    )
    assert isinstance(model, MaskedParallel)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return model.eval()


def with_steps(n_steps: int, **changes: object) -> SamplingConfig:
    return UNFILTERED.model_copy(update={"parallel_steps": n_steps, **changes})


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def is_whole(pairs: Pairs) -> bool:
    rises = (pairs.positions[:, 1:] > pairs.positions[:, :-1]) | pairs.is_padding[:, 1:]
    in_range = ((pairs.codes >= 0) & (pairs.codes < K)) | pairs.is_padding
    return bool(rises.all() and in_range.all())


@settings(max_examples=25, deadline=None)
@given(n_pairs=st.integers(1, L), n_steps=st.integers(1, 12), seed=st.integers(0, 99), noise=st.floats(0, 9))
def test_each_image_has_as_many_pairs_as_it_should(
    n_pairs: int, n_steps: int, seed: int, noise: float
) -> None:
    drawn = sample_pairs(
        model_of(n_pairs), 4, with_steps(n_steps, parallel_noise=noise), generator=generator(seed)
    )
    assert drawn.codes.shape == (4, n_pairs) and is_whole(drawn)


@settings(max_examples=15, deadline=None)
@given(n_steps=st.integers(1, 12), seed=st.integers(0, 99), bias=st.sampled_from([-30.0, 0.0, 30.0]))
def test_with_an_end_there_are_more_and_fewer_and_never_none(n_steps: int, seed: int, bias: float) -> None:
    model = model_of(L, has_end=True)
    of_model = model.log_odds
    model.log_odds = lambda logits: of_model(logits) + bias  # type: ignore[method-assign]
    drawn = sample_pairs(model, 8, with_steps(n_steps), generator=generator(seed))
    assert is_whole(drawn) and drawn.lengths.min() >= 1
    if bias:
        assert set(drawn.lengths.tolist()) == {1 if bias < 0 else L}


@torch.no_grad()
def test_in_one_step_each_place_is_drawn_from_what_the_model_says_of_an_empty_grid() -> None:
    model, n = model_of(L), 20_000
    drawn = sample_pairs(model, n, with_steps(1), generator=generator())
    law = model.read(torch.full((1, L), model.hidden))[0].softmax(-1)  # (L, K)
    shares = F.one_hot(drawn.codes, K).double().mean(dim=0)
    assert (shares - law).abs().max() < 5 * math.sqrt(0.25 / n)


@torch.no_grad()
def test_a_single_pair_goes_where_the_odds_say() -> None:
    """Of places of which exactly one is kept, each has the share that its odds have of all odds."""
    model, n = model_of(1), 20_000
    drawn = sample_pairs(model, n, with_steps(1), generator=generator())
    odds = model.log_odds(model.read(torch.full((1, L), model.hidden)))[0].exp()
    shares = torch.bincount(drawn.positions[:, 0], minlength=L) / n
    assert (shares - odds / odds.sum()).abs().max() < 5 * math.sqrt(0.25 / n)


@torch.no_grad()
def test_guidance_draws_from_guided_logits() -> None:
    model, n = model_of(L, condition="class", condition_dropout=0.1), 10_000
    guided = with_steps(1, code_guidance=2.5)
    drawn = sample_pairs(model, n, guided, generator=generator(), conditions=torch.ones(n).long())
    empty = torch.full((1, L), model.hidden)
    told, untold = (model.read(empty, torch.tensor([c]))[0] for c in (1, 2))
    law = (untold + 2.5 * (told - untold)).softmax(-1)
    shares = F.one_hot(drawn.codes, K).double().mean(dim=0)
    assert (shares - law).abs().max() < 5 * math.sqrt(0.25 / n)
    assert (law - told.softmax(-1)).abs().max() > 0.1


@torch.no_grad()
def test_kept_places_are_drawn_from_guided_odds() -> None:
    """Of two kept places of nine each choice has the share of the product of its guided odds."""
    model, n = model_of(2, scale=0.8, condition="class", condition_dropout=0.1), 40_000
    guided = with_steps(1, position_guidance=4.0)
    drawn = sample_pairs(model, n, guided, generator=generator(), conditions=torch.ones(n).long())
    empty = torch.full((1, L), model.hidden)
    told, untold = (model.log_odds(model.read(empty, torch.tensor([c])))[0] for c in (1, 2))
    odds = (untold + 4.0 * (told - untold)).exp()
    law, unguided = (torch.outer(of, of).triu(diagonal=1) for of in (odds, told.exp()))
    law, unguided = law / law.sum(), unguided / unguided.sum()
    shares = torch.zeros(L, L).index_put_(
        tuple(drawn.positions.T), torch.full((n,), 1.0 / n), accumulate=True
    )
    allowed = 5 * (law * (1 - law) / n).sqrt()
    assert ((shares - law).abs() <= allowed).all() and ((unguided - law).abs() > allowed).any()


@torch.no_grad()
def test_without_noise_the_likeliest_comes_step_by_step() -> None:
    """Temperature 0, one place a step: by hand, the surest place first, each in sight of those before it."""
    model = model_of(L, scale=0.6)
    tokens = torch.full((1, L), model.hidden)
    for n_left in (hidden_after(step, 4, torch.tensor([L])) for step in range(1, 5)):
        best = model.read(tokens)[0].log_softmax(-1).max(-1)
        hidden = [place for place in range(L) if tokens[0, place] == model.hidden]
        surest = sorted(hidden, key=lambda place: -float(best.values[place]))
        for place in surest[: len(hidden) - int(n_left)]:
            tokens[0, place] = best.indices[place]
    drawn = sample_pairs(model, 1, with_steps(4, temperature=0.0), generator=generator())
    assert torch.equal(drawn.codes, tokens)


def test_the_schedule_is_a_quarter_of_a_cosine() -> None:
    hidden = [int(hidden_after(step, 8, torch.tensor([256]))) for step in range(9)]
    assert hidden == [256, 251, 236, 212, 181, 142, 97, 49, 0]
    assert [int(hidden_after(step, 6, torch.tensor([2]))) for step in range(7)] == [2, 1, 1, 1, 1, 1, 0]


def test_what_stands_after_each_step_is_told_and_stays() -> None:
    model, told = model_of(4), []
    hidden = torch.full((3, L), model.hidden)
    drawn = sample_in_parallel(model, hidden, with_steps(5), generator=generator(), on_tokens=told.append)
    left = [(tokens == model.hidden).sum(dim=1).tolist() for tokens in told]
    assert left == [hidden_after(step, 5, torch.tensor([L] * 3)).tolist() for step in range(1, 6)]
    for earlier, later in itertools.pairwise(told):
        is_fixed = earlier != model.hidden
        assert torch.equal(earlier[is_fixed], later[is_fixed])
    assert torch.equal(model.tokens(drawn), told[-1])


def test_what_is_known_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(4)
    tokens = torch.full((3, L), model.hidden)
    tokens[:, 0], tokens[:, 4], tokens[:, 8] = 2, 0, model.dropped
    drawn = sample_in_parallel(model, tokens, with_steps(5), generator=generator())
    for row in range(3):
        found = dict(zip(drawn.positions[row].tolist(), drawn.codes[row].tolist(), strict=True))
        assert found[0] == 2 and found[4] == 0 and 8 not in found and len(found) == 4


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("has_end", [False, True])
def test_a_part_of_an_image_is_completed(has_end: bool, guidance: float) -> None:
    model = model_of(L if has_end else 4, has_end, condition="class", condition_dropout=0.1)
    image = Pairs(torch.tensor([[1, 2, 3, 4]]), torch.tensor([[0, 1, 5, 7]]), SIDE)
    part = part_of(image, box(SIDE, 0, 0, 2, 3))  # the first two rows: places 0 to 5
    asked = with_steps(3, code_guidance=guidance, position_guidance=guidance)
    classes = torch.tensor([0, 1] * 3)
    drawn = complete_pairs(model, part, 6, asked, generator=generator(), conditions=classes)
    for row in range(6):
        is_there = ~drawn.is_padding[row]
        found = dict(
            zip(drawn.positions[row, is_there].tolist(), drawn.codes[row, is_there].tolist(), strict=True)
        )
        assert {place: code for place, code in found.items() if place < 6} == {0: 1, 1: 2, 5: 3}
        assert has_end or len(found) == 4


def test_the_same_seed_draws_the_same_and_progress_is_told_every_step() -> None:
    model, calls = model_of(4), []
    first, again, other = (
        sample_pairs(model, 4, with_steps(6), generator=generator(seed), progress=lambda: calls.append(None))
        for seed in (0, 0, 1)
    )
    assert torch.equal(first.codes, again.codes) and torch.equal(first.positions, again.positions)
    assert not torch.equal(first.codes, other.codes)
    assert len(calls) == 3 * 6 == 3 * model.drawing_steps(with_steps(6))
    assert not model.training


def test_of_no_images_come_no_pairs() -> None:
    for model in (model_of(4), model_of(L, has_end=True)):
        assert len(sample_pairs(model, 0, with_steps(3), generator=generator())) == 0
