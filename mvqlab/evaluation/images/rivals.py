"""Is a learned choice of regions a good one? Judged in dB, beside choices that cost nothing to make.

Where the objects are known, `importance` tells whether scores find them. But what a picture needs is not the
same as what lies on an object, so here a choice is worth what the image is that comes back from it.
"""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd
from torch import Tensor

from mvqlab.config import TRUE_KINDS
from mvqlab.data import Batch
from mvqlab.data.pixels import to_uint8
from mvqlab.evaluation.images.choice import by_kind, choosing
from mvqlab.evaluation.images.greedy import greedy_positions, restored_from
from mvqlab.evaluation.images.reconstruction import collect, mean_psnr
from mvqlab.models.dual_grain import DualGrainMask
from mvqlab.models.mqvae import MQVAE
from mvqlab.models.scorers import UNLEARNED_SCORERS

OWN = "adaptive"
OTHERS = ("upside_down", *UNLEARNED_SCORERS)
GREEDY = "greedy"
TRIALS = 32  # between all regions kept and none: the greedy choice lets go a 32nd of them at a time
ORACLE_IMAGES = 16  # that the greedy choice is made for, which takes some seconds an image


def choices_in_decibels(
    model: MQVAE, batches: Iterable[Batch], seed: int = 0, oracle_images: int = ORACLE_IMAGES
) -> pd.DataFrame:
    """What `model` makes of the images of `batches` from as many regions, chosen in every way there is.

    A row a choice, named as `mask.kind` is, and `greedy`: psnr, dB, mean over all images; psnr_of_few, over
    the first `oracle_images` of the first batch, which alone the greedy choice is made for; regret, dB that
    it is below the greedy one on these. The model is the same throughout, trained with its own choice: what
    is swapped in is strange to it. Rows that need true objects are left out where there are none.
    `oracle_images` of 0 leaves out the greedy choice, and the regret with it; so does `mask.kind=dual_grain`,
    whose other choices are of fine blocks, as single regions cannot be dropped.
    """
    if isinstance(model.mask, DualGrainMask):
        oracle_images = 0
    given = [batch.to(next(model.parameters()).device) for batch in batches]
    few = first_of(given[0], oracle_images)
    has_truth = all(batch.importance is not None for batch in given)
    rows: dict[str, dict[str, float]] = {}
    for kind in (OWN, *OTHERS):
        if has_truth or kind not in TRUE_KINDS:
            with choosing(model, model.n_kept, by_kind(kind)):
                rows[kind] = {"psnr": _psnr(model, given, seed)}
                if oracle_images:
                    rows[kind]["psnr_of_few"] = _psnr(model, [few], seed)
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("choice")
    if not oracle_images:
        return table
    table.loc[GREEDY, "psnr_of_few"] = greedy_psnr(model, few.images, few.importance)
    return table.assign(regret=table.loc[GREEDY, "psnr_of_few"] - table["psnr_of_few"])


def greedy_psnr(model: MQVAE, images: Tensor, importance: Tensor | None = None) -> float:
    """dB, mean over `images` (B, 3, H, W) in [-1, 1], from the regions that the greedy choice keeps."""
    at_once = max(1, model.n_positions // TRIALS)
    positions = greedy_positions(model, images, model.n_kept, at_once, importance)
    restored = restored_from(model, images, positions, importance)
    return mean_psnr(to_uint8(images), to_uint8(restored))


def choice_columns(table: pd.DataFrame) -> dict[str, float]:
    """Columns of a results row from `choices_in_decibels`: psnr_by_<choice> and regret_of_<choice>, dB."""
    columns = {f"psnr_by_{kind}": psnr for kind, psnr in table["psnr"].dropna().items() if kind != OWN}
    if "regret" in table:
        columns |= {f"regret_of_{kind}": value for kind, value in table["regret"].items() if kind != GREEDY}
    return {str(name): float(value) for name, value in columns.items()}


def first_of(batch: Batch, n: int) -> Batch:
    """The first `n` samples of `batch`."""
    importance = None if batch.importance is None else batch.importance[:n]
    return Batch(batch.images[:n], batch.labels[:n], batch.captions[:n], importance)


def _psnr(model: MQVAE, batches: Iterable[Batch], seed: int) -> float:
    held_out = collect(model, batches, seed)
    return mean_psnr(held_out.images, held_out.reconstructions)
