"""Codebooks of several models side by side: usage and redundancy, a row a model."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from mvqlab.evaluation.images.reconstruction import HeldOut
from mvqlab.evaluation.run_report import codebook_columns
from mvqlab.models.mqvae import TokenModel


def codebook_table(models: Mapping[str, TokenModel], held_out: Mapping[str, HeldOut]) -> pd.DataFrame:
    """One row a model, its name in the column `label`.

    Columns: n_pairs, the codes of one image, on average; then those of `CodebookUsage` and
    `CodebookRedundancy`, prefixed `codebook_`. `held_out` holds what each model made of the held-out images,
    see `collect_held_out`. Models that keep fewer regions have their usage computed over fewer:
    `codebook_n_features` says over how many.

    Raises ValueError unless every model has its held-out images and all have equally many.
    """
    if models.keys() != held_out.keys():
        raise ValueError(f"models are {sorted(models)}, but held-out images are there of {sorted(held_out)}")
    sizes = {name: len(images) for name, images in held_out.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"usage over different numbers of images does not compare: {sizes}")
    return pd.DataFrame(
        {
            "label": name,
            "n_pairs": held_out[name].pairs.mean_length,
            **codebook_columns(held_out[name], model.codebook.cpu()),
        }
        for name, model in models.items()
    )
