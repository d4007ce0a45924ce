"""Each image with a budget of its own (`mask.budget: threshold`): padding is never seen, ends are learned."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pandas as pd
import pytest
import tiny_runs
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import tiny_transformer
from torch import Tensor

from mvqlab.config import (
    Config,
    ConfigError,
    MaskConfig,
    SamplingConfig,
    TransformerConfig,
)
from mvqlab.data import Batch, Splits, batches_in_order, build_splits
from mvqlab.evaluation.codebook.code_patches import code_coverage
from mvqlab.evaluation.likelihood.bits import pair_bits
from mvqlab.evaluation.run_report import collect_held_out, evaluate_held_out, stage2_columns
from mvqlab.models.budgets import ThresholdMask, lowest_kept, positions_above
from mvqlab.models.mqvae import MQVAE, build_stage1
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import NO_CODE, Pairs, concatenate
from mvqlab.models.transformers import build_stage2
from mvqlab.sampling import sample_images, sample_pairs, sample_plainly
from mvqlab.sampling.completion import complete_pairs, part_of
from mvqlab.sampling.trace import trace_sampling
from mvqlab.training import (
    build_transformer,
    load_stage2,
    tokenise,
    train_stage1,
    train_stage2,
)
from mvqlab.training.launch import make_fabric
from mvqlab.training.origin import Origin
from mvqlab.training.stage1 import Stage1Run
from mvqlab.training.stage2 import Stage2Run
from mvqlab.training.stage2_data import Tokens
from mvqlab.training.tokens import TokenSet, cached_tokens

K, SIDE = 6, 3
L = SIDE**2
KINDS = {"code_first": {}, "position_first": {"first": "position"}, "score_order": {"order": "score"}}
ANYTHING = SamplingConfig(code_top_k=0, code_top_p=1.0, position_top_k=0, position_top_p=1.0)
BUDGETS = [
    "mask.budget=threshold",
    "data.train_size=48",
    "quantizer.start_step=2",
    *(f"stage{n}.{words}" for n in (1, 2) for words in ("steps=6", "batch_size=8")),
]


def tiny(*changes: str) -> Config:
    return tiny_runs.tiny(*BUDGETS, *changes)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return build_splits(tiny().data)


@pytest.fixture(scope="module")
def mqvae() -> MQVAE:
    """Random weights, with a threshold that its own training would have left."""
    torch.manual_seed(0)
    model = build_stage1(tiny())
    for _ in range(30):
        model(torch.randn(8, 3, 16, 16))
    return model.eval()


def images(n: int, seed: int = 1) -> Tensor:
    return torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def transformer(kind: str = "code_first", **changes: object) -> PairModel:
    torch.manual_seed(0)
    options = {"width": 24, "heads": 3, "position_layers": 2}
    config = tiny_transformer(**{**options, **KINDS[kind], **changes})
    model = build_stage2(config, codebook_size=K, side=SIDE, n_pairs=L, has_end=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))  # so that every part has a say
    return model.eval()


def unequal(lengths: list[int], is_rising: bool = True, seed: int = 2) -> Pairs:
    """Random pairs of images with so many each."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for n in lengths:
        places = torch.randperm(L, generator=generator)[:n]
        places = places.sort().values if is_rising else places
        rows.append(Pairs(torch.randint(K, (1, n), generator=generator), places.unsqueeze(0), SIDE))
    return concatenate(rows)


# ------------------------------------------------------------------------------------------ which regions


@given(seed=st.integers(0, 200), threshold=st.floats(-0.5, 1.5))
def test_places_above_are_those_of_a_plain_loop(seed: int, threshold: float) -> None:
    scores = torch.rand(3, 12, generator=torch.Generator().manual_seed(seed))
    found = positions_above(scores, threshold)
    rows = []
    for image in scores.tolist():
        above = [place for place, score in enumerate(image) if score >= torch.tensor(threshold)]
        rows.append(above or [max(range(12), key=image.__getitem__)])
    longest = max(map(len, rows))
    assert found.tolist() == [row + [12] * (longest - len(row)) for row in rows]


def test_a_training_batch_keeps_its_best_regions_whichever_images_they_are_in() -> None:
    torch.manual_seed(0)
    mask = build_stage1(tiny("mask.mask_ratio=0.75")).mask.train()
    assert isinstance(mask, ThresholdMask) and mask.n == 4
    scores = torch.rand(5, 16)
    positions = mask.positions_to_keep(scores)
    best = scores.flatten().sort(descending=True).values[:20]
    kept = [
        score for row, places in zip(scores, positions, strict=True) for score in row[places[places < 16]]
    ]
    assert sorted(kept, reverse=True) == best.tolist()
    assert mask.threshold == best[-1]  # the first batch sets it, later ones move it
    mask.positions_to_keep(scores + 1.0)
    assert mask.threshold == pytest.approx(float(best[-1]) + 0.05)


@torch.no_grad()
def test_what_is_kept_of_an_image_does_not_depend_on_its_batch(mqvae: MQVAE) -> None:
    batch = images(12)
    together = mqvae.encode(batch)
    assert len(set(together.pairs.lengths.tolist())) > 2
    for row in range(12):
        alone = mqvae.encode(batch[row : row + 1])
        n = alone.pairs.n_pairs
        assert torch.equal(alone.pairs.lengths, together.pairs.lengths[row : row + 1])
        assert torch.equal(alone.positions[0], together.positions[row, :n])
        assert torch.equal(alone.codes[0], together.codes[row, :n])
    assert torch.equal(together.pairs.is_kept, together.is_kept)
    assert torch.equal(together.is_kept.sum(dim=1), together.pairs.lengths)


def test_the_mean_number_is_what_was_asked_for(tmp_path: Path, splits: Splits) -> None:
    settled = ["stage1.steps=60", "stage1.batch_size=16", "backbone.norm_groups=32"]  # scores are still
    config = tiny("mask.mask_ratio=0.6", *settled)
    model = train_stage1(config, tmp_path, splits=splits)
    lengths = collect_held_out(model, splits, config).pairs.lengths.double()
    assert model.n_kept == 6 and lengths.std() > 0.3
    assert lengths.mean() == pytest.approx(6.0, abs=1.0)


def test_before_any_training_the_batchs_own_threshold_serves() -> None:
    torch.manual_seed(0)
    model = build_stage1(tiny()).eval()
    assert model.mask.threshold.isnan()
    assert model.encode(images(6)).pairs.lengths.sum() == 6 * model.n_kept


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ({"kind": "random"}, "mask.kind 'random' has no learned scores"),
        ({"kind": "none", "mask_ratio": 0.0}, "mask.kind 'none' has no learned scores"),
        ({"mask_ratio": 0.0}, "a mask.mask_ratio of 0 drops nothing"),
    ],
)
def test_a_threshold_needs_scores_and_something_to_drop(mask: dict, words: str) -> None:
    with pytest.raises(ValueError) as error:
        MaskConfig(budget="threshold", **mask)
    assert words in str(error.value)


# ------------------------------------------------------------------------------------------ padding, stage 1


@torch.no_grad()
def test_padding_changes_no_image(mqvae: MQVAE) -> None:
    pairs = mqvae.encode(images(8)).pairs
    wider = pairs.widened(pairs.n_pairs + 3)
    assert torch.equal(mqvae.decode(pairs), mqvae.decode(wider))
    torch.testing.assert_close(mqvae(images(8)).images, mqvae.decode(pairs))
    for row, n in enumerate(pairs.lengths.tolist()):
        alone = Pairs(pairs.codes[row : row + 1, :n], pairs.positions[row : row + 1, :n], pairs.side)
        torch.testing.assert_close(mqvae.decode(alone)[0], mqvae.decode(wider)[row], atol=1e-5, rtol=1e-4)


def test_padding_moves_no_code_and_gets_no_gradient() -> None:
    torch.manual_seed(0)
    plain, padded = build_stage1(tiny()).quantizer, build_stage1(tiny()).quantizer
    padded.load_state_dict(plain.state_dict())
    features = torch.randn(3, 5, 8)
    is_padding = torch.arange(5) >= torch.tensor([[5], [1], [3]])
    rubbish = features.masked_fill(is_padding.unsqueeze(-1), torch.nan).requires_grad_()
    torch.manual_seed(1)
    expected = plain.quantise(features[~is_padding])
    torch.manual_seed(1)
    found = padded(rubbish, is_padding)
    assert torch.equal(found.codes[~is_padding], expected.codes)
    assert torch.equal(found.codes == NO_CODE, is_padding)
    assert torch.equal(found.features[~is_padding], expected.features) and torch.equal(
        found.loss, expected.loss
    )
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, padded.state_dict()[name]), name
    (found.features.sum() + found.loss).backward()
    assert torch.equal(rubbish.grad.isfinite().all(dim=-1), torch.ones(3, 5, dtype=torch.bool))
    assert (rubbish.grad[is_padding] == 0).all()


def test_codes_are_counted_without_padding(mqvae: MQVAE, splits: Splits) -> None:
    config = tiny()
    held_out = collect_held_out(mqvae, splits, config)
    lengths = held_out.pairs.lengths.double()
    row = evaluate_held_out(held_out, mqvae, config)
    assert row["codebook_n_features"] == lengths.sum() == len(held_out.pairs.all_codes)
    assert row["n_pairs"] == pytest.approx(float(lengths.mean()))
    assert row["n_pairs_std"] == pytest.approx(float(lengths.std(correction=0)))
    everywhere = torch.ones_like(held_out.importance)
    coverage = code_coverage(held_out.pairs, everywhere, 16)
    is_used = torch.bincount(held_out.pairs.all_codes, minlength=16) > 0
    assert (coverage[is_used] == 1.0).all() and coverage[~is_used].isnan().all()


# ---------------------------------------------------------------------------------- padding and ends, stage 2


def nats_of_image(model: PairModel, codes: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Codes' and positions' nats of one image (n,), its end included, read alone and term by term."""
    n, ends_with_code = len(codes), model.predicts[0] == "code"
    has_end = n < L
    read = Pairs(codes.unsqueeze(0), positions.unsqueeze(0), SIDE).widened(n + has_end)
    logits = model(read)
    of_codes, of_positions = logits.code_logits[0].log_softmax(-1), logits.position_logits[0].log_softmax(-1)
    nats = [
        -sum(of_codes[i, codes[i]] for i in range(n)),
        -sum(of_positions[i, positions[i]] for i in range(n)),
    ]
    if has_end and ends_with_code:
        nats[0] = nats[0] - of_codes[n, K]
    elif has_end:
        nats[1] = nats[1] - of_positions[n, L]
    return nats[0], nats[1]


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_loss_is_that_of_each_image_alone(kind: str) -> None:
    model = transformer(kind)
    pairs = unequal([3, 1, L, 6], is_rising=kind != "score_order")
    alone = [
        nats_of_image(model, pairs.codes[i, :n], pairs.positions[i, :n]) for i, n in enumerate([3, 1, L, 6])
    ]
    of_codes, of_positions = (torch.stack(part) for part in zip(*alone, strict=True))
    loss = model.loss(pairs)
    torch.testing.assert_close(loss.codes, of_codes.sum() / 19)
    torch.testing.assert_close(loss.positions, of_positions.sum() / 19)
    torch.testing.assert_close(loss.total, loss.codes + loss.positions)
    bits = pair_bits(model, pairs, batch_size=3)
    torch.testing.assert_close(bits.codes, of_codes / math.log(2))
    torch.testing.assert_close(bits.positions, of_positions / math.log(2))


@pytest.mark.shapes_unchecked  # other tests see them checked; here they would cost most of the time
@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, L - 2), min_size=1, max_size=4), kind=st.sampled_from(list(KINDS)))
def test_more_padding_changes_no_loss(lengths: list[int], kind: str) -> None:
    model, pairs = transformer(kind), unequal(lengths)
    torch.testing.assert_close(model.loss(pairs).total, model.loss(pairs.widened(L)).total)
    torch.testing.assert_close(model.loss(pairs).total, model.loss(pairs.widened(L).trimmed()).total)


@pytest.mark.shapes_unchecked  # other tests see them checked; here they would cost most of the time
@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(list(KINDS)),
    seed=st.integers(0, 99),
    temperature=st.sampled_from([0.0, 0.5, 1.0, 5.0]),
    is_ordered=st.booleans(),
)
def test_every_sample_is_an_image(kind: str, seed: int, temperature: float, is_ordered: bool) -> None:
    """At least one pair, no place twice, then nothing but padding; where ordered, places rise."""
    options = SamplingConfig(temperature=temperature, ordered_positions=is_ordered)
    model = transformer(kind)
    pairs = sample_pairs(model, 6, options, generator=torch.Generator().manual_seed(seed))
    assert pairs.n_pairs == pairs.lengths.max()
    for codes, positions, n in zip(pairs.codes, pairs.positions, pairs.lengths.tolist(), strict=True):
        assert n >= 1 and len(set(positions[:n].tolist())) == n
        assert positions[:n].max() < L and codes[:n].min() >= 0 and codes[:n].max() < K
        assert (positions[n:] == L).all() and (codes[n:] == NO_CODE).all()
        if is_ordered and kind != "score_order":
            assert (positions[:n].diff() > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_cached_and_uncached_sampling_draw_the_same(kind: str) -> None:
    cached, uncached = (
        draw(transformer(kind), 12, generator=torch.Generator().manual_seed(5))
        for draw in (sample_pairs, sample_plainly)
    )
    assert len(set(cached.lengths.tolist())) > 2
    assert torch.equal(cached.codes, uncached.codes) and torch.equal(cached.positions, uncached.positions)


@pytest.mark.shapes_unchecked  # other tests see them checked; here they would cost most of the time
@pytest.mark.parametrize("first", ["code", "position"])
@torch.no_grad()
def test_images_end_as_often_as_the_model_says(first: str) -> None:
    """The share of images with one pair against its exact probability, all first pairs summed up."""
    model = transformer("code_first" if first == "code" else "position_first")
    probability = 0.0
    for code, place in itertools.product(range(K), range(L)):
        pairs = Pairs(torch.tensor([[code]]), torch.tensor([[place]]), SIDE).widened(2)
        logits = model(pairs)
        codes, places = logits.code_logits[0], logits.position_logits[0]
        of_code, of_place = codes[0, :K].softmax(-1)[code], places[0, :L].softmax(-1)[place]
        if first == "code":
            of_end = codes[1, : K + 1].softmax(-1)[K] if place < L - 1 else 1.0
        else:
            of_end = places[1, place + 1 :].softmax(-1)[-1]
        probability += float(of_code * of_place * of_end)
    drawn = sample_pairs(model, 20_000, ANYTHING, generator=torch.Generator().manual_seed(0))
    share = float((drawn.lengths == 1).double().mean())
    assert 0.02 < probability < 0.98
    assert share == pytest.approx(probability, abs=4 * (probability * (1 - probability) / 20_000) ** 0.5)


def test_guidance_and_traces_know_the_end() -> None:
    torch.manual_seed(0)
    config = tiny_transformer(condition="class")
    model = build_stage2(config, codebook_size=K, side=SIDE, n_pairs=L, n_classes=3, has_end=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    told = {"conditions": torch.tensor([0, 1, 2] * 4)}
    guided = SamplingConfig(code_guidance=2.0, position_guidance=1.5)
    trace = trace_sampling(model, 12, guided, generator=torch.Generator().manual_seed(0), **told)
    pairs = sample_pairs(model, 12, guided, generator=torch.Generator().manual_seed(0), **told)
    assert torch.equal(pairs.codes, trace.pairs.codes) and len(set(pairs.lengths.tolist())) > 1
    drawn = pairs.widened(trace.is_allowed.shape[1])
    is_real = ~drawn.is_padding
    assert drawn.n_pairs - pairs.n_pairs in (0, 1)
    allowed = trace.is_allowed.gather(2, drawn.positions.clamp(max=L - 1).unsqueeze(-1)).squeeze(-1)
    assert allowed[is_real].all()
    code_or_end = drawn.codes.masked_fill(drawn.is_padding, K).unsqueeze(-1)
    of_drawn = trace.code_probabilities.gather(2, code_or_end).squeeze(-1)
    is_end = drawn.is_padding & (drawn.is_padding.cumsum(dim=1) == 1)
    assert (of_drawn[is_real | is_end] > 0).all()
    assert (trace.code_probabilities[:, 0, K] == 0).all()  # no image is empty


@pytest.mark.parametrize("kind", KINDS)
def test_a_completed_image_holds_the_kept_part_and_ends(kind: str) -> None:
    model = transformer(kind)
    image = unequal([6], is_rising=kind != "score_order").widened(L)
    region = torch.zeros(L, dtype=torch.bool)
    region[:4] = True
    kept = part_of(image, region)
    done = complete_pairs(model, kept, 40, ANYTHING, generator=torch.Generator().manual_seed(0))
    wanted = dict(zip(kept.positions.tolist(), kept.codes.tolist(), strict=True))
    assert len(set(done.lengths.tolist())) > 1
    for codes, positions, n in zip(done.codes, done.positions, done.lengths.tolist(), strict=True):
        placed = dict(zip(positions[:n].tolist(), codes[:n].tolist(), strict=True))
        assert len(placed) == n >= 1
        assert {place: placed[place] for place in placed if region[place]} == wanted
        assert (positions[n:] == L).all()


def test_a_raster_transformer_is_refused() -> None:
    raster = TransformerConfig(model="raster")
    with pytest.raises(ConfigError, match="stage 1 keeps a number of its own of each image"):
        build_stage2(raster, codebook_size=K, side=SIDE, n_pairs=L, has_end=True)
    with pytest.raises(ConfigError, match=r"transformer\.model 'raster' reads a code at every region"):
        tiny("transformer.model=raster")


# ------------------------------------------------------------------------------------------ from end to end


@pytest.mark.parametrize("changes", [[], ["transformer.first=position"], ["transformer.order=score"]])
def test_both_stages_train_resume_sample_and_load(changes: list[str], tmp_path: Path, splits: Splits) -> None:
    whole, half = tiny(*changes), ["stage1.steps=3", "stage2.steps=3"]
    cut = tiny(*changes, *half, "stage1.cosine=false", "stage2.cosine=false")
    whole = tiny(*changes, "stage1.cosine=false", "stage2.cosine=false")
    stage1 = train_stage1(whole, tmp_path / "whole1", splits=splits)
    train_stage1(cut, tmp_path / "parts1", splits=splits)
    resumed = train_stage1(whole, tmp_path / "parts1", resume=True, splits=splits)
    assert "mask.threshold" in stage1.state_dict()
    for name, tensor in stage1.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    stage2 = train_stage2(whole, stage1, tmp_path / "whole2", splits=splits)
    train_stage2(cut, stage1, tmp_path / "parts2", splits=splits)
    again = train_stage2(whole, stage1, tmp_path / "parts2", resume=True, splits=splits)
    loaded = load_stage2(tmp_path / "whole2", stage1)
    for name, tensor in stage2.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    drawn = sample_images(loaded, stage1, whole)
    assert drawn.images.shape == (10, 3, 16, 16) and drawn.images.isfinite().all()
    curves = pd.read_csv(tmp_path / "whole2" / "curves.csv")
    tokens = tokenise(stage1, splits.validation, order=whole.transformer.order)
    row = stage2_columns(curves, drawn)
    bits = pair_bits(loaded, tokens.to("cpu").pairs)
    assert row["bits_per_image"] == pytest.approx(float((bits.codes + bits.positions).mean()), rel=1e-4)
    assert row["n_pairs"] == pytest.approx(float(tokens.pairs.lengths.double().mean()))
    assert row["n_pairs_drawn"] == pytest.approx(float(drawn.pairs.lengths.double().mean()))


def test_tokens_come_back_from_the_cache_with_their_padding(
    mqvae: MQVAE, splits: Splits, tmp_path: Path
) -> None:
    expected = tokenise(mqvae, splits.validation, batch_size=3)
    found = cached_tokens(tmp_path / "tokens.safetensors", lambda: expected)
    assert torch.equal(found.pairs.codes, expected.pairs.codes)
    assert torch.equal(found.pairs.lengths, expected.pairs.lengths)
    some = found[torch.tensor([0, 5])].to("cpu").pairs
    assert some.n_pairs == some.lengths.max() and some.codes.dtype == torch.int64


def test_score_order_puts_padding_last(mqvae: MQVAE, splits: Splits) -> None:
    by_score = tokenise(mqvae, splits.validation, order="score").pairs
    raster = tokenise(mqvae, splits.validation).pairs
    assert torch.equal(by_score.lengths, raster.lengths)
    assert torch.equal(by_score.is_padding, raster.is_padding)
    assert torch.equal(by_score.in_order(by_score.positions).codes, raster.codes)


def test_lowest_kept_is_of_the_whole_batch() -> None:
    assert lowest_kept(torch.tensor([[0.9, 0.8, 0.7], [0.1, 0.6, 0.2]]), 2) == pytest.approx(0.6)


def steps_gradients(
    config: Config, pairs: list[Pairs], folder: Path
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Losses and gradients of one training step that is fed `pairs`, one batch each."""
    stage1 = build_stage1(config).eval()
    torch.manual_seed(1)
    model = build_transformer(config, stage1)
    batches = [TokenSet(some, torch.full((len(some),), -1)) for some in pairs]
    run = Stage2Run(config, model, Tokens(batches[0], batches[0]), folder, make_fabric(), Origin())
    run.bare.train()
    run.optimiser.zero_grad = lambda **_: None
    losses = run.take_step(0, iter(batches))
    return losses, [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("kind", ["code", "position"])
def test_gradients_of_batches_add_up_to_those_of_all_their_pairs(kind: str, tmp_path: Path) -> None:
    """Sequences of 2, 14 and 5 pairs: the mean of three means is another number, and another direction."""
    config = tiny(f"transformer.first={kind}", "transformer.dropout=0.0")
    accumulated = config.model_copy(update={"stage2": config.stage2.model_copy(update={"accumulate": 3})})
    generator = torch.Generator().manual_seed(3)
    each = []
    for n in (2, 14, 5):
        places = torch.randperm(16, generator=generator)[:n].sort().values
        each.append(Pairs(torch.randint(16, (1, n), generator=generator), places[None], 4))
    expected, expected_gradients = steps_gradients(config, [concatenate(each)], tmp_path)
    losses, gradients = steps_gradients(accumulated, each, tmp_path)
    for name, value in expected.items():
        assert float(losses[name]) == pytest.approx(float(value), abs=1e-6)
    for gradient, whole in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, whole, atol=1e-6, rtol=1e-5)


def test_held_out_losses_do_not_depend_on_the_size_of_batches(tmp_path: Path, splits: Splits) -> None:
    """Where images have budgets, the quantiser's loss has more features in one batch than another."""
    losses = []
    for size in (3, 16):
        config = tiny(f"evaluation.batch_size={size}")
        train_stage1(config, tmp_path / str(size), splits=splits)
        losses.append(
            pd.read_csv(tmp_path / str(size) / "curves.csv").query("split == 'validation'")["loss"].item()
        )
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_accumulated_losses_are_logged_of_all_batches(tmp_path: Path, splits: Splits) -> None:
    """The mean over a step's batches, not the last one's."""
    config = tiny("stage1.accumulate=2")
    run = Stage1Run(config, tmp_path, make_fabric(), splits)
    of_batches = iter([{"loss": torch.tensor(2.0)}, {"loss": torch.tensor(5.0)}])
    run.update = lambda step, part, is_last: next(of_batches)
    assert float(run.take_step(0, iter([splits_batch(splits)] * 2))["loss"]) == 3.5


def splits_batch(splits: Splits) -> Batch:
    return next(batches_in_order(splits.train, 4))
