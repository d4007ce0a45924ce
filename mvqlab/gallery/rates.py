"""How good an image is for its bits: shipped models, positions counted, beside JPEG and WebP."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pandas as pd

from mvqlab.data import batches_in_order, build_splits
from mvqlab.evaluation.images.choice import choosing
from mvqlab.evaluation.images.codecs import NAMES, codec_rows
from mvqlab.evaluation.images.rate import fixed_length_bits
from mvqlab.evaluation.images.reconstruction import collect, mean_psnr
from mvqlab.gallery.asked import Asked, measured_by_model
from mvqlab.models.masking import n_kept
from mvqlab.models.mqvae import MQVAE, TokenModel
from mvqlab.plots import save_figure
from mvqlab.plots.ratios import bits_and_quality
from mvqlab.zoo.shipped import load_stage1_named

MODELS = ("simple_plain_vq", "simple_mqvae", "fashion_plain_vq", "fashion_mqvae", "emoji_mqvae")
N_IMAGES = 256
RATIOS = (0.0, 0.25, 0.5, 0.65, 0.75, 0.85, 0.9, 0.95)  # of models that were trained for all
MASKED, PLAIN = "MQ-VAE", "plain VQ"
SHOWN = {"fashion": "garments"}  # data sets that have another name in texts


def make_rates(asked: Asked) -> list[Path]:
    """Write rates.csv and rates.png: PSNR over bits an image."""
    path, table = measured_by_model(
        asked, "rates", MODELS, lambda name: rates(name, asked.at_most(N_IMAGES)), ["data", "model", "way"]
    )
    return [
        path,
        save_figure(
            bits_and_quality(table.replace({"data": SHOWN}), [MASKED, PLAIN, *NAMES.values()], named=MASKED),
            asked.folder / "rates.png",
        ),
    ]


def rates(name: str, n_images: int) -> pd.DataFrame:
    """A row a way and setting: data, way, setting (share dropped, or quality), bits, psnr, images."""
    model = load_stage1_named(name)
    splits = build_splits(model.config.data)
    batches = list(batches_in_order(splits.validation, 64, n_images))
    rows = []
    for ratio in ratios_of(model):
        with at_ratio(model, ratio):
            held_out = collect(model, batches)
        bits = fixed_length_bits(model, held_out.pairs.lengths)
        psnr = mean_psnr(held_out.images, held_out.reconstructions)
        way = MASKED if isinstance(model, MQVAE) else PLAIN
        rows.append({"way": way, "setting": ratio, "bits": bits, "psnr": psnr})
    table = pd.DataFrame([*rows, *codec_rows(held_out.images)])
    return table.assign(data=data_of(model), images=len(held_out))


def at_ratio(model: TokenModel, ratio: float) -> AbstractContextManager[object]:
    """Inside the `with`, `model` drops that share if it was trained for several; else it is left alone."""
    low, high = model.config.mask.ratio_range
    if isinstance(model, MQVAE) and low < high:
        return choosing(model, n_kept(ratio, model.n_positions))
    return nullcontext()


def ratios_of(model: TokenModel) -> tuple[float, ...]:
    """The mask ratios that `model` was trained for."""
    low, high = model.config.mask.ratio_range
    if low == high:
        return (model.config.mask.ratio_in_use,)
    return tuple(ratio for ratio in RATIOS if ratio <= 0.75 or not is_dual_grain(model))


def is_dual_grain(model: TokenModel) -> bool:
    """Whether the pairs of `model` stand for blocks, each of which has one at least."""
    return model.config.mask.kind == "dual_grain"


def data_of(model: TokenModel) -> str:
    """The data set in words."""
    data = model.config.data
    return "simple scenes" if data.scene == "simple" else data.name
