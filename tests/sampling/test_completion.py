"""In-painting: what is kept comes out untouched, what is new keeps to the rules."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import tiny_transformer

from mvqlab.config import SamplingConfig
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import NO_CODE, Pairs, no_pairs
from mvqlab.models.transformers import build_stage2
from mvqlab.sampling import sample_plainly
from mvqlab.sampling.completion import (
    ChooserAroundKept,
    KeptPart,
    box,
    complete_pairs,
    part_of,
    places_for_next,
)

SIDE, L, K, N = 4, 16, 7, 8
MODELS = {
    "code first": {},
    "position first": {"first": "position"},
    "score order": {"order": "score"},
    "any order": {"order": "random", "first": "position"},
    "raster": {"model": "raster"},
    "classes": {"condition": "class", "condition_dropout": 0.2},
}
WITH_END = ("code first", "position first", "score order", "any order")
NOT_RISING = ("score order", "any order")


def tiny(kind: str, has_end: bool = False) -> PairModel:
    torch.manual_seed(0)
    config = tiny_transformer(**MODELS[kind])
    n = L if kind == "raster" or has_end else N
    model = build_stage2(config, codebook_size=K, side=SIDE, n_pairs=n, n_classes=3, has_end=has_end)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))  # so that what was read has a say
    return model.eval()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.shapes_unchecked  # other tests see them checked; here they would cost most of the time
@settings(max_examples=30)
@given(
    kind=st.sampled_from(sorted(MODELS)),
    corners=st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 4), st.integers(1, 4)),
    seed=st.integers(0, 99),
)
def test_kept_pairs_stay_and_new_ones_keep_to_the_rules(
    kind: str, corners: tuple[int, int, int, int], seed: int
) -> None:
    top, left, height, width = corners
    region = box(SIDE, top, left, min(SIDE, top + height), min(SIDE, left + width))
    model = tiny(kind)
    positions = torch.arange(L) if kind == "raster" else torch.randperm(L, generator=generator(seed))[:N]
    if kind not in NOT_RISING:
        positions = positions.sort().values
    codes = torch.randint(K, (len(positions),), generator=generator(seed))
    kept = part_of(Pairs(codes[None], positions[None], SIDE), region)
    conditions = torch.arange(3) if kind == "classes" else None
    drawn = complete_pairs(model, kept, 3, SamplingConfig(), generator=generator(seed), conditions=conditions)
    code_at = dict(zip(kept.positions.tolist(), kept.codes.tolist(), strict=True))
    for row_codes, row in zip(drawn.codes.tolist(), drawn.positions.tolist(), strict=True):
        assert len(set(row)) == len(row) == min(len(positions), kept.n_pairs + int((~region).sum()))
        assert {place for place in row if region[place]} == set(code_at)
        assert all(code_at.get(place, code) == code for place, code in zip(row, row_codes, strict=True))
        assert max(row_codes) < K
        if kind in NOT_RISING:
            assert row[: kept.n_pairs] == kept.positions.tolist()
        else:
            assert row == sorted(row)


@given(seed=st.integers(0, 500))
def test_places_are_those_from_which_the_rest_still_fits(seed: int) -> None:
    """Against every way of going on, written out: a place is allowed if some completion goes through it."""
    random = torch.Generator().manual_seed(seed)
    region = torch.rand(7, generator=random) < 0.5
    kept = [place for place in range(7) if region[place] and torch.rand((), generator=random) < 0.6]
    n_new = int(torch.randint(0, int((~region).sum()) + 1, (), generator=random))
    free = (~region).nonzero().flatten().tolist()
    ways = [sorted([*kept, *chosen]) for chosen in itertools.combinations(free, n_new)]
    way = ways[int(torch.randint(len(ways), (), generator=random))]
    step = int(torch.randint(len(way) + 1, (), generator=random))
    if step == len(way):
        return
    expected = {other[step] for other in ways if other[:step] == way[:step]}
    last = way[step - 1] if step else -1
    left = [place for place in kept if place not in way[:step]]
    new, may_keep = places_for_next(
        region,
        torch.tensor([last]),
        torch.tensor([left[0] if left else 7]),
        torch.tensor([n_new - (step - (len(kept) - len(left)))]),
    )
    found = set(new[0].nonzero().flatten().tolist()) | ({left[0]} if may_keep[0] else set())
    assert found == expected


@pytest.mark.parametrize(
    ("kind", "has_end"),
    [(kind, False) for kind in MODELS if kind != "classes"] + [(k, True) for k in WITH_END],
)
def test_with_nothing_kept_it_is_plain_sampling(kind: str, has_end: bool) -> None:
    model = tiny(kind, has_end)
    nothing = KeptPart(torch.zeros(0).long(), torch.zeros(0).long(), torch.zeros(L, dtype=torch.bool))
    ours = complete_pairs(model, nothing, 9, SamplingConfig(), generator=generator(5))
    plain = sample_plainly(model, 9, SamplingConfig(), generator=generator(5))
    assert torch.equal(ours.codes, plain.codes) and torch.equal(ours.positions, plain.positions)


@torch.no_grad()
def complete_plainly(model: PairModel, kept: KeptPart, n_images: int, s: SamplingConfig) -> Pairs:
    """Completion without a cache: everything is read anew, with the kept codes where they stand."""
    rules = ChooserAroundKept(model, kept, n_images, s, generator(7))
    pairs = no_pairs(n_images, model.side)
    for n in range(rules.n_pairs):
        if rules.is_done():
            break
        pairs = pairs.widened(n + 1)
        pairs.codes[:, n], pairs.positions[:, n] = 0, n
        for part in model.predicts:
            pairs.of(part)[:, n] = rules(part, model(pairs).of(part)[:, n])
        pair = rules.settled(pairs[:, n:])
        rules.note(pair)
        pairs.codes[:, n] = pair.codes[:, 0].masked_fill(pair.is_padding[:, 0], NO_CODE)
    return pairs.trimmed()


@pytest.mark.parametrize("has_end", [False, True])
@pytest.mark.parametrize("kind", WITH_END)
def test_the_cache_holds_kept_codes_and_not_those_that_they_replaced(kind: str, has_end: bool) -> None:
    model, region = tiny(kind, has_end), box(SIDE, 1, 0, 3, 3)
    positions = torch.tensor([[0, 4, 5, 9, 10, 12, 13, 15]])
    if kind in NOT_RISING:
        positions = positions[:, torch.randperm(N, generator=generator(3))]
    kept = part_of(Pairs(torch.tensor([[1, 6, 2, 0, 5, 5, 3, 4]]), positions, SIDE), region)
    ours = complete_pairs(model, kept, 40, SamplingConfig(), generator=generator(7))
    plain = complete_plainly(model, kept, 40, SamplingConfig())
    assert torch.equal(ours.codes, plain.codes) and torch.equal(ours.positions, plain.positions)


def test_guidance_of_one_changes_nothing_and_more_does() -> None:
    model = tiny("classes")
    with torch.no_grad():
        model.start.classes.weight.mul_(100)
    kept = part_of(Pairs(torch.tensor([[1, 2]]), torch.tensor([[0, 9]]), SIDE), box(SIDE, 0, 0, 1, 1))
    drawn = {}
    for scale in (1.0, 1.0 + 1e-12, 8.0):
        chosen = SamplingConfig(code_guidance=scale, position_guidance=scale)
        drawn[scale] = complete_pairs(
            model, kept, 6, chosen, generator=generator(1), conditions=torch.arange(6) % 3
        )
    assert torch.equal(drawn[1.0].codes, drawn[1.0 + 1e-12].codes)
    assert not torch.equal(drawn[1.0].codes, drawn[8.0].codes)


@pytest.mark.parametrize("corners", [(0, 0, 0, 4), (2, 2, 1, 3), (0, 0, 5, 4), (-1, 0, 2, 2)])
def test_a_box_beyond_the_grid_is_refused(corners: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"is empty or reaches beyond the 4 x 4 regions"):
        box(SIDE, *corners)


def test_a_part_is_of_one_image_and_its_own_grid() -> None:
    pairs = Pairs(torch.zeros(2, 3).long(), torch.arange(3).expand(2, -1), SIDE)
    with pytest.raises(ValueError, match="of one image, not of 2"):
        part_of(pairs, torch.zeros(L, dtype=torch.bool))
    with pytest.raises(ValueError, match="has 9 places"):
        part_of(pairs[:1], torch.zeros(3, 3, dtype=torch.bool))
