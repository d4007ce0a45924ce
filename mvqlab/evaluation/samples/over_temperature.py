"""Precision and recall of one model as a curve over its temperature: no single setting decides who is better.

Drawn colder, samples get more plausible and fewer kinds come; warmer, the other way round. Two models compare
by their curves: one that lies above the other everywhere is better, and a single pair of figures only says
where each was set.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from torch import Tensor

from mvqlab.config import Config
from mvqlab.evaluation.attributes.class_asked_for import drawing_with
from mvqlab.evaluation.samples.distances import features_of
from mvqlab.evaluation.samples.feature_extractor import FeatureExtractor
from mvqlab.evaluation.samples.judge import judge_rows
from mvqlab.models.mqvae import TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.sampling import sample_images

TEMPERATURES = (0.5, 0.7, 0.85, 1.0, 1.15, 1.3)


def judged_over_temperature(
    model: PairModel,
    stage1: TokenModel,
    config: Config,
    real: Tensor,
    extractor: FeatureExtractor,
    temperatures: Sequence[float] = TEMPERATURES,
    n_samples: int = 256,
) -> pd.DataFrame:
    """The figures of `n_samples` samples, a row a temperature.

    Columns: temperature, fid, kid, precision, recall, density, coverage; also is, where the extractor answers
    what an image shows. Samples are drawn unguided and without filters, from `config.seed` each time, and
    judged against features `real` (n, F) of `extractor`.
    """
    drawing = drawing_with(config, 1.0, n_samples)
    rows = []
    for temperature in temperatures:
        at_it = drawing.sampling.model_copy(update={"temperature": temperature})
        drawn = sample_images(model, stage1, drawing.model_copy(update={"sampling": at_it})).images
        generated = features_of(extractor, drawn, what="generated images")
        figures = judge_rows(real, generated, extractor, 0, config.seed)
        rows.append({"temperature": temperature, **{name: row.value for name, row in figures.items()}})
    return pd.DataFrame(rows)
