"""What each image costs under a stage-2 model, in bits: the loss, image by image rather than on average.

    by_image = bits_by_image(models, tokens)                # a row an image: what for codes, what for places
    summarise(by_image, ["model", "set"], BITS)             # means with intervals over the images
    generalisation_gap(by_image)                            # held-out minus training images: over-fitting

Bits pay for the pairs alone and not for what stage 1 lost: those of two models compare only together with how
well each one's stage 1 restores images. Of a model of any order they are a bound from above, see
`PairModel.order_nats`, and of one that draws many places at a time, too: see `models.masked_parallel`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs
from mvqlab.models.start import CaptionStart, ClassStart
from mvqlab.results.summary import CONFIDENCE
from mvqlab.support.finite import check_finite
from mvqlab.training.tokens import TokenSet

BITS = ("code_bits_per_image", "position_bits_per_image", "bits_per_image")
TRAINING, HELD_OUT = "training", "held-out"


class PairBits(NamedTuple):
    """Bits (B,) of each image's codes, and of its positions: 0 where these are given, as in raster order.

    What the end costs, where sequences have one, is with the part that says it.
    """

    codes: Tensor
    positions: Tensor


@torch.no_grad()
def pair_bits(
    model: PairModel, pairs: Pairs, conditions: Tensor | None = None, batch_size: int = 256
) -> PairBits:
    """Bits that an ideal coder with this `model` spends on each image's codes and on its positions.

    Each part is told what the model tells it: the one that comes second in a pair knows the first. The model
    should be in evaluation mode. Raises NonFiniteError where a pair is given no probability, or NaN.
    """
    each = _each(model, pairs, conditions, batch_size)
    parts = [(codes.sum(dim=1), positions.sum(dim=1)) for codes, positions in each]
    return PairBits(*(torch.cat(part) for part in zip(*parts, strict=True)))


@torch.no_grad()
def bits_of_each(
    model: PairModel, pairs: Pairs, conditions: Tensor | None = None, batch_size: int = 256
) -> Tensor:
    """The same (B, N) of each single pair, code and position together; 0 at padding. An end has no place."""
    each = _each(model, pairs, conditions, batch_size)
    bits = torch.cat([(codes + positions)[:, : pairs.n_pairs] for codes, positions in each])
    return bits.masked_fill(pairs.is_padding, 0.0)


def _each(
    model: PairModel, pairs: Pairs, conditions: Tensor | None, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Bits (b, N) of codes and of positions, some images after others; N with a place for an end."""
    for first in range(0, len(pairs), batch_size):
        rows = slice(first, first + batch_size)
        nats = model.nats_of_each(pairs[rows], None if conditions is None else conditions[rows])
        check_finite(f"bits of images {first} and following", nats.codes + nats.positions)
        yield nats.codes / math.log(2), nats.positions / math.log(2)


def image_bits(
    model: PairModel, pairs: Pairs, conditions: Tensor | None = None, batch_size: int = 256
) -> Tensor:
    """Bits (B,) of each image's pairs, positions included: the sum of `pair_bits`."""
    bits = pair_bits(model, pairs, conditions, batch_size)
    return bits.codes + bits.positions


def bits_by_image(
    models: Mapping[str, PairModel], tokens: Mapping[str, Mapping[str, TokenSet]], batch_size: int = 256
) -> pd.DataFrame:
    """Bits of every image: columns model, set, image, n_pairs and `BITS`.

    tokens: for each of `models` its own sets, such as "training" and "held-out", from `tokenise`; those of a
    model of captions with its captions' tokens for conditions (`with_captions`).
    """
    tables = []
    for name, model in models.items():
        is_told = isinstance(model.start, ClassStart | CaptionStart)
        device = next(model.parameters()).device
        for of_set, some in tokens[name].items():
            some = some.to(device)
            bits = pair_bits(model, some.pairs, some.conditions if is_told else None, batch_size)
            columns = dict(zip(BITS, (bits.codes, bits.positions, bits.codes + bits.positions), strict=True))
            lengths = some.pairs.lengths.tolist()
            facts = {"model": name, "set": of_set, "image": range(len(some)), "n_pairs": lengths}
            tables.append(pd.DataFrame(facts | {key: values.tolist() for key, values in columns.items()}))
    return pd.concat(tables, ignore_index=True)


def generalisation_gap(
    by_image: pd.DataFrame, training: str = TRAINING, held_out: str = HELD_OUT
) -> pd.DataFrame:
    """How many bits more a held-out image costs than a training image, with Welch's 95 % interval.

    One row a model and column of `BITS`: mean, low, high, and `is_clear`, whether the interval leaves zero
    out. The images are other ones, so a small gap may be theirs and not the model's.
    """
    from scipy.stats import ttest_ind

    rows = []
    for model, table in by_image.groupby("model", sort=False):
        for name in BITS:
            held, seen = (table.loc[table["set"] == of_set, name] for of_set in (held_out, training))
            low = high = 0.0  # positions that are given cost nothing, without doubt
            if held.std() or seen.std():
                low, high = ttest_ind(held, seen, equal_var=False).confidence_interval(CONFIDENCE)
            row = {
                "model": model,
                "metric": name,
                "mean": held.mean() - seen.mean(),
                "low": low,
                "high": high,
            }
            rows.append(row | {"is_clear": bool(low > 0.0 or high < 0.0)})
    return pd.DataFrame(rows)
