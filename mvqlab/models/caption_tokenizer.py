"""Captions as tokens: byte-level byte-pair encoding, learned from the captions at hand.

    tokenizer = train_caption_tokenizer(captions, vocabulary_size=512, length=32)
    tokens = tokenizer.encode(["a small red disc"])        # (1, 32): BEGIN, tokens, PAD ...

Bytes cover every text, so no prompt is outside the vocabulary; `remarks` tells what a model cannot know of
it. The encoding is that of the Hugging Face tokenizers library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from jaxtyping import Int
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor

from mvqlab.models.start import BEGIN, N_RESERVED, PAD
from mvqlab.support.files import write_text_whole

FILE_NAME = "captions.json"
WORD = re.compile(r"\w+")
QUOTED = 80  # characters of a caption that a remark repeats


class CaptionError(ValueError):
    """Captions are missing, or a tokenizer cannot be read or does not fit. The message says what to do."""


class CaptionWarning(UserWarning):
    """Something of a caption tells the model nothing. The message says what."""


class CaptionTokenizer:
    """Captions to tokens (n, length); id 0 pads, 1 begins a caption, the tokenizer's own ids follow."""

    def __init__(self, tokenizer: Tokenizer, length: int, known_words: Iterable[str]) -> None:
        self.tokenizer, self.length, self.known_words = tokenizer, length, frozenset(known_words)

    @property
    def vocabulary_size(self) -> int:
        """Tokens of the tokenizer, the two reserved ones aside."""
        return self.tokenizer.get_vocab_size()

    def encode(self, captions: Sequence[str]) -> Int[Tensor, "n length"]:
        """Tokens (n, length) int64 of `captions`; too long ones are cut, an empty one is BEGIN alone."""
        rows = torch.full((len(captions), self.length), PAD)
        rows[:, 0] = BEGIN
        for row, caption in zip(rows, captions, strict=True):
            ids = self._ids(caption)[: self.length - 1]
            row[1 : 1 + len(ids)] = torch.tensor(ids, dtype=torch.long) + N_RESERVED
        return rows

    def remarks(self, caption: str) -> list[str]:
        """What a person who wrote `caption` should know: no words, words never seen, words cut off."""
        if not caption.strip():
            return ["the caption is empty: images are drawn as without one"]
        said = []
        words = set(words_of(caption))
        unseen = sorted(words - self.known_words)
        if not words:
            said.append("the caption has no words in it: signs alone tell the model nothing")
        if unseen:
            listed = _shortened(", ".join(unseen))
            said.append(f"no training caption had the words {listed}: they tell the model nothing")
        ids = self._ids(caption)
        # a tokenizer of somebody else's may have no token for a word, and leaves it out or says so
        unknown = getattr(self.tokenizer.model, "unk_token", None)
        if words and (not ids or self.tokenizer.token_to_id(unknown or "") in ids):
            said.append("the tokenizer has no tokens for some of the caption's words: they are not read")
        if len(ids) > self.length - 1:
            lost = self.tokenizer.decode(ids[self.length - 1 :]).strip()
            said.append(f"the caption is too long, its end is not read: '{_shortened(lost)}'")
        return said

    @staticmethod
    def path_in(folder: Path) -> Path:
        """Where the tokenizer of the run in `folder` lies."""
        return Path(folder) / FILE_NAME

    def cut(self, captions: Sequence[str]) -> tuple[int, int]:
        """How many of `captions` lose their end to `encode`, and the length that would keep the longest."""
        lengths = {caption: 1 + len(self._ids(caption)) for caption in set(captions)}
        n_cut = sum(lengths[caption] > self.length for caption in captions)
        return n_cut, max(lengths.values(), default=1)

    def save(self, folder: Path) -> None:
        """Write the tokenizer into `folder`, whole."""
        write_text_whole(self.path_in(folder), self.to_text())

    def to_text(self) -> str:
        """All of it, as `from_text` reads it."""
        content = {
            "length": self.length,
            "known_words": sorted(self.known_words),
            "tokenizer": json.loads(self.tokenizer.to_str()),
        }
        return json.dumps(content, indent=1, ensure_ascii=False)

    @classmethod
    def from_text(cls, text: str) -> CaptionTokenizer:
        """What `to_text` gave. Raises whatever its parsers raise over a damaged one."""
        content = json.loads(text)
        tokenizer = Tokenizer.from_str(json.dumps(content["tokenizer"]))
        return cls(tokenizer, int(content["length"]), content["known_words"])

    def _ids(self, caption: str) -> list[int]:
        return self.tokenizer.encode(caption.strip().lower(), add_special_tokens=False).ids


def words_of(caption: str) -> list[str]:
    """The words of a caption, in lower case."""
    return WORD.findall(caption.lower())


def _shortened(text: str) -> str:
    return text if len(text) <= QUOTED else f"{text[:QUOTED]} ..."


def train_caption_tokenizer(captions: Iterable[str], vocabulary_size: int, length: int) -> CaptionTokenizer:
    """Learn a byte-level BPE of at most `vocabulary_size` tokens, at least the 256 bytes, from `captions`.

    Raises CaptionError if none of them says anything.
    """
    texts = _texts(captions)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size, initial_alphabet=alphabet, show_progress=False, special_tokens=[]
    )
    tokenizer.train_from_iterator(texts, trainer)
    return CaptionTokenizer(tokenizer, length, {word for text in texts for word in words_of(text)})


def pretrained_caption_tokenizer(
    path: Path, captions: Iterable[str], vocabulary_size: int, length: int
) -> CaptionTokenizer:
    """The tokenizer in the `tokenizer.json` at `path`, for a model of at most `vocabulary_size` tokens.

    Its words are taken, and not its padding and truncation: captions are padded and cut here, to `length`.
    Raises CaptionError if it cannot be read, has larger tokens, or cannot encode the captions.
    """
    texts = _texts(captions)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exceptions
        raise CaptionError(f"{path} is no tokenizer of the tokenizers library ({error})") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    n_needed = 1 + max(tokenizer.get_vocab().values(), default=-1)  # its numbers may have gaps
    if n_needed > vocabulary_size:
        raise CaptionError(
            f"{path} numbers its tokens up to {n_needed - 1}: set transformer.vocabulary_size to {n_needed} "
            "or more"
        )
    try:
        n_read = sum(
            len(encoding.ids) for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)
        )
    except Exception as error:
        raise CaptionError(f"{path} cannot encode the captions ({error})") from None
    if n_read == 0:
        raise CaptionError(f"{path} has no token for any word of the captions, which are read in lower case")
    return CaptionTokenizer(tokenizer, length, {word for text in texts for word in words_of(text)})


def load_caption_tokenizer(folder: Path) -> CaptionTokenizer:
    """The tokenizer that was saved in the folder of a run. Raises CaptionError."""
    path = CaptionTokenizer.path_in(folder)
    try:
        return CaptionTokenizer.from_text(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CaptionError(
            f"{folder} holds no {FILE_NAME}: its model was not trained on captions, or has lost it, and then "
            "`mvqlab train --resume` writes it anew from the run's state"
        ) from None
    except Exception as error:
        raise CaptionError(f"{path} is damaged ({type(error).__name__}: {error}): train again") from None


def _texts(captions: Iterable[str]) -> list[str]:
    texts = [caption.strip().lower() for caption in captions if caption.strip()]
    if not texts:
        raise CaptionError(
            "transformer.condition is 'caption', but no image has one: data.name=shapes, emoji "
            "and fashion have captions, data.name=folder takes data.captions=FILE.csv"
        )
    return texts
