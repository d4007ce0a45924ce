"""What stage 2 learns: the pairs of both splits, and where images are drawn from captions, these as tokens.

images -> trained stage 1 -> pairs           kept in the cache folder, once for all runs
captions -> tokenizer -> conditions          learned at a run's start, kept with the run

With `stage2.half` the training images' pairs become both splits, see `cross_fitted`.
"""

from __future__ import annotations

import json
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from mvqlab.config import Config
from mvqlab.config.own_arms import OF_STAGE1, versions_in_use
from mvqlab.data import DataError, PictureDataset, Splits
from mvqlab.data.seeds import places_drawn
from mvqlab.models.caption_tokenizer import (
    CaptionTokenizer,
    CaptionWarning,
    load_caption_tokenizer,
    pretrained_caption_tokenizer,
    train_caption_tokenizer,
)
from mvqlab.models.mqvae import TokenModel
from mvqlab.support.files import cache_folder
from mvqlab.training.checkpoint import CheckpointError
from mvqlab.training.state import load_state
from mvqlab.training.tokens import TokenSet, cached_tokens, tokenise, tokens_key

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Tokens(NamedTuple):
    """The pairs of both splits."""

    train: TokenSet
    validation: TokenSet


def tokenise_splits(config: Config, stage1: TokenModel, splits: Splits, fabric: Fabric) -> Tokens:
    """Encode the training images and the held-out ones that evaluation uses.

    With `data.cache_tokens` they are kept in the cache folder, under the hashes of stage 1's weights and
    choice of regions and of the data, and read from there: a machine's first process encodes, for all and for
    later runs.
    """
    images = config.evaluation.images
    common: dict[str, Any] = {
        "order": config.transformer.order,
        "batch_size": config.evaluation.batch_size,  # what is random is drawn batch by batch
        "seed": config.seed,
    }

    def encode(dataset: PictureDataset, limit: int | None) -> TokenSet:
        return tokenise(stage1, dataset, limit=limit, workers=config.data.workers, **common)

    wanted = {"train": (splits.train, None), "validation": (splits.validation, images)}
    if not config.data.cache_tokens:
        return Tokens(**{name: encode(*what) for name, what in wanted.items()})
    # the same weights keep other regions at another `evaluation_ratio`, or by another version of an arm
    how = stage1.config.mask.model_dump_json(), json.dumps(versions_in_use(stage1.config, OF_STAGE1))
    tokens = {}
    for name, (dataset, limit) in wanted.items():
        key = tokens_key(stage1, *how, splits.data_hash, name, limit, *common.values())
        path = cache_folder() / f"tokens-{key}.safetensors"
        with fabric.rank_zero_first(local=True):
            is_writer = fabric.local_rank == 0
            tokens[name] = cached_tokens(path, partial(encode, dataset, limit), is_writer=is_writer)
    return Tokens(**tokens)


def cross_fitted(tokens: Tokens, config: Config) -> Tokens:
    """The training images' pairs in two halves: the one `stage2.half` names trains, the other is held out.

    Both are of one set, which stage 1 has learned as a whole: what a transformer loses from one half to the
    other is its own over-fitting, and its twin, with the halves swapped, cancels what sets them apart. Which
    image is in which half hangs on `data.seed`; of what is held out, as many count as `evaluation.images`.

    Raises DataError where there are too few images for two halves.
    """
    n_images = len(tokens.train)
    if n_images < 2:
        raise DataError(
            f"stage2.half: {n_images} training image makes no two halves: give more, or leave it out"
        )
    rows = torch.from_numpy(places_drawn(n_images, n_images, config.data.seed, "halves"))
    halves = [rows[: n_images // 2], rows[n_images // 2 :]]
    learned, held_out = halves if config.stage2.half == "first" else halves[::-1]
    return Tokens(tokens.train[learned], tokens.train[held_out[: config.evaluation.images]])


def caption_tokenizer(config: Config, splits: Splits) -> CaptionTokenizer:
    """The tokenizer that `config` asks for: learned from the training captions, or read from a file.

    Raises CaptionError.
    """
    settings = config.transformer
    captions = [splits.train.caption(index) for index in range(len(splits.train))]
    sizes = settings.vocabulary_size, settings.caption_length
    if settings.tokenizer is not None:
        return pretrained_caption_tokenizer(settings.tokenizer, captions, *sizes)
    return train_caption_tokenizer(captions, *sizes)


def kept_tokenizer(folder: Path, config: Config) -> CaptionTokenizer:
    """The tokenizer of the run in `folder`: learned anew, it could number words otherwise.

    It stands in the training state, of older versions beside it. Raises CheckpointError, CaptionError.
    """
    path = folder / "state.pt"
    state = load_state(path, 2, config.stage2.steps)
    if "captions" not in state:
        return load_caption_tokenizer(folder)
    try:
        return CaptionTokenizer.from_text(state["captions"])
    except Exception as error:  # the library raises plain Exceptions
        raise CheckpointError(
            f"the tokenizer in {path} is damaged ({error}): restore the file, or train afresh"
        ) from None


def with_captions(tokens: Tokens, splits: Splits, tokenizer: CaptionTokenizer) -> Tokens:
    """The same pairs, with the tokens of their images' captions for conditions.

    Warns (CaptionWarning) where training captions are longer than the tokenizer takes them.
    """

    def captioned(part: TokenSet, dataset: PictureDataset) -> TokenSet:
        return TokenSet(part.pairs, tokenizer.encode([dataset.caption(n) for n in range(len(part))]))

    n_cut, longest = tokenizer.cut([splits.train.caption(n) for n in range(len(tokens.train))])
    if n_cut:
        warnings.warn(
            f"{n_cut} of {len(tokens.train)} training captions are longer than transformer.caption_length="
            f"{tokenizer.length} tokens, and their ends are not read; {longest} would hold the longest",
            CaptionWarning,
            stacklevel=3,
        )

    return Tokens(captioned(tokens.train, splits.train), captioned(tokens.validation, splits.validation))
