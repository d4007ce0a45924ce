"""Classes and captions before the pairs: heard where they should be, padded right, guided, cached."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor

from mvqlab.config import SamplingConfig, TransformerConfig
from mvqlab.models.caption_tokenizer import (
    CaptionError,
    CaptionTokenizer,
    CaptionWarning,
    load_caption_tokenizer,
    pretrained_caption_tokenizer,
    train_caption_tokenizer,
)
from mvqlab.models.key_value_cache import KeyValueCache, StaticKeyValueCache
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs, Part
from mvqlab.models.start import BEGIN, PAD
from mvqlab.models.transformers import build_stage2
from mvqlab.sampling import sample_pairs, sample_plainly
from mvqlab.sampling.filters import guided
from mvqlab.training.stage2_data import Tokens, with_captions
from mvqlab.training.tokens import TokenSet

K, SIDE, LENGTH = 11, 4, 6
KINDS = {
    "code_first": {"first": "code"},
    "position_first": {"first": "position"},
    "raster": {"model": "raster", "match_parameters": False},
}
TOKENS = torch.tensor(
    [[BEGIN, 5, 9, 7, PAD, PAD], [BEGIN, PAD, PAD, PAD, PAD, PAD], [BEGIN, 5, 9, 7, 8, 300]]
)
EVERYTHING = {"code_top_k": 0, "code_top_p": 1.0, "position_top_k": 0, "position_top_p": 1.0}


def small(kind: str, condition: str = "caption", **changes: object) -> PairModel:
    torch.manual_seed(0)
    sizes = {"width": 24, "heads": 3, "code_layers": 2, "position_layers": 2, "dropout": 0.0}
    config = TransformerConfig(
        **{**sizes, **KINDS[kind], "condition": condition, "caption_length": LENGTH, **changes}
    )
    n_pairs = SIDE**2 if kind == "raster" else 7
    model = build_stage2(config, codebook_size=K, side=SIDE, n_pairs=n_pairs, n_classes=4)
    for parameter in model.parameters():  # GPT's start is so small that conditions would hardly show
        torch.nn.init.normal_(parameter, 0.0, 0.3)
    return model.eval()


def random_pairs(model: PairModel, n_images: int) -> Pairs:
    places = torch.rand(n_images, SIDE**2).argsort(1)[:, : model.n_pairs].sort(1).values
    return Pairs(torch.randint(K, places.shape), places, SIDE)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_not_heard_and_a_caption_is(kind: str) -> None:
    model = small(kind)
    alike = random_pairs(model, 1)
    pairs = Pairs(alike.codes.expand(3, -1), alike.positions.expand(3, -1), SIDE)
    with torch.no_grad():
        logits = model(pairs, TOKENS).code_logits
        model.start.tokens.weight[PAD] += torch.randn(24)
        model.start.places[4:] += torch.randn(24)  # which only the third caption reaches
        moved = model(pairs, TOKENS).code_logits
    torch.testing.assert_close(moved[:2], logits[:2])
    assert (moved[2] - logits[2]).abs().max() > 1e-3
    assert (logits[0] - logits[1]).abs().max() > 1e-3
    assert logits.shape[1] == model.n_pairs


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_without_a_caption_is_with_an_empty_one(kind: str) -> None:
    model = small(kind)
    pairs, empty = random_pairs(model, 2), model.start.null(2)
    torch.testing.assert_close(model.loss(pairs).total, model.loss(pairs, empty).total)
    settings = SamplingConfig(**EVERYTHING)
    drawn = [
        sample_pairs(model, 2, settings, generator=torch.Generator().manual_seed(3), conditions=conditions)
        for conditions in (None, empty)
    ]
    assert torch.equal(drawn[0].codes, drawn[1].codes)
    assert torch.equal(drawn[0].positions, drawn[1].positions)


@pytest.mark.parametrize("kind", KINDS)
def test_each_caption_gives_what_it_gives_alone_without_padding(kind: str) -> None:
    """The plain reference: the same sequence, unpadded, one at a time."""
    model = small(kind)
    pairs = random_pairs(model, 3)
    with torch.no_grad():
        together = model(pairs, TOKENS).code_logits
        model.start.n_prefix = 4
        model.start.places = torch.nn.Parameter(model.start.places[:4])
        alone = model(pairs[:1], TOKENS[:1, :4]).code_logits
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cache", [KeyValueCache, StaticKeyValueCache])
@pytest.mark.parametrize("kind", KINDS)
def test_cached_logits_are_those_of_the_whole_sequence(kind: str, cache: type[KeyValueCache]) -> None:
    model = small(kind)
    pairs = random_pairs(model, 3)
    seen: dict[Part, list[Tensor]] = {"code": [], "position": []}

    def take(part: Part, logits: Tensor) -> Tensor:
        seen[part].append(logits)
        return pairs.of(part)[:, len(seen[part]) - 1]

    with torch.no_grad():
        whole = model(pairs, TOKENS)
        kept, previous = model.begin(3, TOKENS, cache), None
        for _ in range(model.n_pairs):
            previous = model.next_pair(kept, previous, take)
    torch.testing.assert_close(torch.stack(seen["code"], 1), whole.code_logits, rtol=1e-4, atol=1e-4)
    if whole.position_logits is not None:
        torch.testing.assert_close(
            torch.stack(seen["position"], 1), whole.position_logits, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("condition", ["class", "caption"])
@pytest.mark.parametrize("kind", KINDS)
def test_cached_sampling_draws_what_uncached_draws(kind: str, condition: str) -> None:
    model = small(kind, condition)
    conditions = TOKENS if condition == "caption" else torch.tensor([0, 3, 1])
    drawn = [
        sample(model, 3, generator=torch.Generator().manual_seed(1), conditions=conditions)
        for sample in (sample_pairs, sample_plainly)
    ]
    assert torch.equal(drawn[0].codes, drawn[1].codes)
    assert torch.equal(drawn[0].positions, drawn[1].positions)


def test_guidance_on_known_logits() -> None:
    logits = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
    assert guided(logits, 1.0).tolist() == [[2.0, 0.0]]
    assert guided(logits, 0.0).tolist() == [[1.0, 1.0]]
    assert guided(logits, 3.0).tolist() == [[4.0, -2.0]]


@pytest.mark.parametrize("condition", ["class", "caption"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_guidance_is_the_condition_alone_and_zero_is_none_at_all(kind: str, condition: str) -> None:
    model = small(kind, condition)
    told = TOKENS if condition == "caption" else torch.tensor([0, 3, 1])

    def draw(conditions: Tensor | None, **settings: float) -> list[list[int]]:
        options = SamplingConfig(**EVERYTHING, **settings)
        generator = torch.Generator().manual_seed(2)
        return sample_pairs(model, 3, options, generator=generator, conditions=conditions).codes.tolist()

    nearly_one = {"code_guidance": 1.0 + 1e-7, "position_guidance": 1.0}
    nothing = model.start.null(3)
    assert draw(told, **nearly_one) == draw(told)
    assert draw(told, code_guidance=0.0, position_guidance=0.0) == draw(nothing)
    assert draw(told, code_guidance=8.0) != draw(told) != draw(nothing)


def test_strong_guidance_draws_what_the_condition_favours() -> None:
    """The more guidance, the more often the code that the class makes likelier than it is without one."""
    model = small("code_first", "class")
    pairs = random_pairs(model, 1)
    with torch.no_grad():
        of_class = model(pairs, torch.tensor([2])).code_logits[0, 0, :K]
        of_none = model(pairs, model.start.null(1)).code_logits[0, 0, :K]
    favoured = int((of_class - of_none).argmax())
    shares = []
    for scale in (1.0, 3.0, 9.0):
        options = SamplingConfig(**EVERYTHING, code_guidance=scale)
        generator = torch.Generator().manual_seed(3)
        drawn = sample_pairs(model, 400, options, generator=generator, conditions=torch.full((400,), 2))
        shares.append(float((drawn.codes[:, 0] == favoured).float().mean()))
    assert shares[0] < shares[1] <= shares[2] and shares[2] > 0.7


def test_what_a_model_was_not_taught_is_refused() -> None:
    with pytest.raises(ValueError, match="condition_dropout was 0"):
        small("code_first", "class", condition_dropout=0.0).start.null(2)
    plain = small("code_first", "none")
    with pytest.raises(ValueError, match="unconditional"):
        plain(random_pairs(plain, 2), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="3 images need 3 conditions, got 2"):
        small("raster").begin(3, TOKENS[:2])
    with pytest.raises(ValueError, match=r"tokens \(B, 6\)"):
        small("raster").begin(3, torch.tensor([0, 1, 2]))


def test_conditions_are_withheld_at_the_rate_that_is_asked_for() -> None:
    start = small("code_first", "class").start
    torch.manual_seed(0)
    kept = start.withhold(torch.zeros(10_000, dtype=torch.long), 0.3)
    assert set(kept.tolist()) == {0, 4} and 0.28 < (kept == 4).float().mean() < 0.32
    captions = small("code_first").start.withhold(TOKENS.repeat(500, 1), 0.5)
    is_empty = (captions == small("code_first").start.null(1)).all(1)
    assert is_empty.any() and not is_empty.all()


class TestTokenizer:
    CAPTIONS = ("a small red disc", "a green striped star and a red bar", "")

    def test_what_is_encoded_is_padded_to_the_right(self) -> None:
        tokenizer = train_caption_tokenizer(self.CAPTIONS, 300, length=12)
        rows = tokenizer.encode(["a red disc", "", "A RED disc  "])
        assert rows.shape == (3, 12) and (rows[:, 0] == BEGIN).all()
        assert torch.equal(rows[0], rows[2]) and rows[1, 1:].eq(PAD).all()
        used = rows[0] != PAD
        assert used[: int(used.sum())].all(), "no hole between the tokens"
        assert int(rows.max()) < tokenizer.vocabulary_size + 2
        assert tokenizer.vocabulary_size <= 300

    def test_any_text_can_be_encoded_and_long_ones_are_cut(self) -> None:
        tokenizer = train_caption_tokenizer(self.CAPTIONS, 300, length=12)
        rows = tokenizer.encode(["ein grüner Würfel 🎲", "red " * 40])
        assert rows.shape == (2, 12) and (rows[1] != PAD).all()

    def test_what_loses_its_end_is_counted(self) -> None:
        tokenizer = train_caption_tokenizer(self.CAPTIONS, 300, length=6)
        whole = ["a red disc", ""]
        assert tokenizer.cut(whole)[0] == 0 and tokenizer.cut([]) == (0, 1)
        long = "a red bar and a red bar and a red bar"
        n_cut, longest = tokenizer.cut([*whole, long, long])
        assert n_cut == 2 and longest > 6
        assert train_caption_tokenizer(self.CAPTIONS, 300, length=longest).cut([long]) == (0, longest)
        assert train_caption_tokenizer(self.CAPTIONS, 300, length=longest - 1).cut([long]) == (1, longest)

    def test_a_training_is_told_how_many_captions_lose_their_ends(self) -> None:
        tokenizer = train_caption_tokenizer(self.CAPTIONS, 300, length=3)
        captions = ["a", "a small red disc", "", "a green striped star"]
        part = SimpleNamespace(caption=captions.__getitem__)
        splits = SimpleNamespace(train=part, validation=part)
        places = torch.zeros(4, 1, dtype=torch.long)
        encoded = TokenSet(Pairs(places, places, 2), torch.full((4,), -1))
        tokens = Tokens(encoded, encoded)
        with pytest.warns(CaptionWarning, match="2 of 4 training captions are longer than .*=3 tokens"):
            with_captions(tokens, splits, tokenizer)

    def test_what_a_model_cannot_know_is_said(self) -> None:
        tokenizer = train_caption_tokenizer(self.CAPTIONS, 300, length=6)
        assert tokenizer.remarks("a red star") == []
        assert "empty" in tokenizer.remarks("  ")[0]
        assert "zebra" in tokenizer.remarks("a red Zebra")[0]
        assert "too long" in tokenizer.remarks("a red bar and a red bar and a red bar")[0]

    def test_it_comes_back_from_disk_the_same(self, tmp_path: Path) -> None:
        tokenizer = train_caption_tokenizer(self.CAPTIONS, 300, length=12)
        tokenizer.save(tmp_path)
        again = load_caption_tokenizer(tmp_path)
        assert torch.equal(again.encode(["a red disc"]), tokenizer.encode(["a red disc"]))
        assert again.known_words == tokenizer.known_words and again.length == 12

    def test_faults_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(CaptionError, match="no image has one"):
            train_caption_tokenizer(["", " "], 300, length=12)
        with pytest.raises(CaptionError, match="not trained on captions"):
            load_caption_tokenizer(tmp_path)
        (tmp_path / "captions.json").write_text("{")
        with pytest.raises(CaptionError, match="is damaged"):
            load_caption_tokenizer(tmp_path)
        with pytest.raises(CaptionError, match="is no tokenizer"):
            pretrained_caption_tokenizer(tmp_path / "captions.json", self.CAPTIONS, 300, 12)

    def test_a_tokenizer_of_ones_own_neither_pads_nor_cuts(self, tmp_path: Path) -> None:
        """Guards against pads that are read as words, and against an end that is cut without a remark."""
        mine = train_caption_tokenizer(self.CAPTIONS, 280, length=12)
        expected = mine.encode(self.CAPTIONS)
        mine.tokenizer.enable_padding(length=11, pad_id=7)
        mine.tokenizer.enable_truncation(3)
        mine.tokenizer.save(str(tmp_path / "tokenizer.json"))
        taken = pretrained_caption_tokenizer(tmp_path / "tokenizer.json", self.CAPTIONS, 300, 12)
        assert torch.equal(taken.encode(self.CAPTIONS), expected)
        assert "too long" in taken.remarks("a red bar and a red bar and a red bar and a red bar")[0]

    def test_tokens_without_a_place_are_refused_and_words_without_a_token_said(self, tmp_path: Path) -> None:
        def taken(words: dict[str, int], unknown: str | None = "[UNK]") -> CaptionTokenizer:
            tokenizer = Tokenizer(WordLevel(words, unk_token=unknown))
            tokenizer.pre_tokenizer = Whitespace()
            tokenizer.save(str(tmp_path / "tokenizer.json"))
            return pretrained_caption_tokenizer(tmp_path / "tokenizer.json", ["a red disc"], 300, 8)

        with pytest.raises(CaptionError, match="vocabulary_size to 901"):
            taken({"a": 0, "red": 900, "[UNK]": 2})
        with pytest.raises(CaptionError, match="cannot encode"):
            taken({"A": 0, "RED": 1}, unknown=None)
        Tokenizer(BPE()).save(str(tmp_path / "empty.json"))
        with pytest.raises(CaptionError, match="no token for any word"):
            pretrained_caption_tokenizer(tmp_path / "empty.json", ["a red disc"], 300, 8)
        known = taken({"a": 0, "red": 1, "[UNK]": 2})
        assert known.remarks("a red a") == [] and "no tokens" in known.remarks("a red disc")[0]

    def test_a_tokenizer_of_ones_own_is_taken_if_it_fits(self, tmp_path: Path) -> None:
        mine = train_caption_tokenizer(self.CAPTIONS, 280, length=12)
        mine.tokenizer.save(str(tmp_path / "tokenizer.json"))
        taken = pretrained_caption_tokenizer(tmp_path / "tokenizer.json", self.CAPTIONS, 300, 8)
        assert taken.vocabulary_size == mine.vocabulary_size and taken.length == 8
        with pytest.raises(CaptionError, match="vocabulary_size"):
            pretrained_caption_tokenizer(tmp_path / "tokenizer.json", self.CAPTIONS, 260, 8)
