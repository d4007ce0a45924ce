"""The kept table of what samples show of what was asked for, and the kept table of possible copies."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from mvqlab.plots.class_asked_for import asked_for_over_guidance
from mvqlab.plots.grid_figures import save_figure
from mvqlab.results.tables import write_csv

ALL = "all that are told a class or a caption"
CLASS_ASKED_FOR = "class_asked_for"
DIGITS = 5


def make_class_asked_for(folder: Path, model: str = ALL, stage1: str | None = None) -> list[Path]:
    """Write class_asked_for.csv and .png into `folder`: the table of every shipped model, or of one.

    With one `model`, shipped or a run's folder with that of its `stage1`, the rows of others that are in the
    table already stay there; rows of a model that is measured anew are replaced. The table is written after
    each model, so that what is done is kept.
    """
    path = folder / f"{CLASS_ASKED_FOR}.csv"
    table = pd.DataFrame()
    if model != ALL and path.exists():
        table = pd.read_csv(path)
        table = table[table["model"] != Path(model).name]
    for name in conditional_models() if model == ALL else [model]:
        table = pd.concat([table, asked_for(name, stage1)], ignore_index=True).sort_values(
            ["measure", "model", "guidance"]
        )
        write_csv(table.round(DIGITS), path)
    return [path, save_figure(asked_for_over_guidance(table), path.with_suffix(".png"))]


def conditional_models() -> list[str]:
    """Shipped transformers that are told a class, or a caption of a simple scene."""
    from mvqlab.zoo.shipped import shipped_card, shipped_config, shipped_names

    def can_be_judged(name: str) -> bool:
        config = shipped_config(name)
        condition = config.transformer.condition
        return condition == "class" or (condition == "caption" and config.data.scene == "simple")

    return [name for name in shipped_names() if shipped_card(name)["stage"] == 2 and can_be_judged(name)]


def asked_for(model: str, stage1: str | None = None) -> pd.DataFrame:
    """`class_asked_for`, or `colour_and_shape` of a model of captions, with a column `model`."""
    from mvqlab.evaluation.attributes.class_asked_for import class_asked_for, colour_and_shape
    from mvqlab.evaluation.attributes.detector import attribute_detector
    from mvqlab.evaluation.samples.class_judge import class_judge
    from mvqlab.models.caption_tokenizer import load_caption_tokenizer
    from mvqlab.zoo.trained import load_trained

    trained = load_trained(model, stage1)
    parts = trained.model, trained.stage1, trained.config
    if trained.config.transformer.condition == "caption":
        detector = attribute_detector(scene=trained.config.data.scene)
        table = colour_and_shape(*parts, detector, load_caption_tokenizer(trained.folder))
    else:
        table = class_asked_for(*parts, class_judge(trained.config.data))
    return table.assign(model=Path(model).name)


def make_possible_copies(folder: Path, model: str, stage1: str | None = None) -> list[Path]:
    """Write possible_copies.csv into `folder`: how many of 500 samples of `model` may be copies."""
    from mvqlab.data import build_splits
    from mvqlab.evaluation.attributes.class_asked_for import drawing_with
    from mvqlab.evaluation.samples.extractors import build_extractor
    from mvqlab.evaluation.samples.possible_copies import N_SAMPLES, possible_copies
    from mvqlab.sampling import sample_images
    from mvqlab.zoo.trained import load_trained

    trained = load_trained(model, stage1)
    splits = build_splits(trained.config.data)
    extractor = build_extractor(trained.config, splits)
    drawn = sample_images(trained.model, trained.stage1, drawing_with(trained.config, 1.0, N_SAMPLES))
    columns = possible_copies(drawn.images, splits, extractor, trained.config.seed)
    path = folder / "possible_copies.csv"
    table = pd.DataFrame([{"model": Path(model).name, **columns, "extractor": extractor.name}])
    write_csv(table.round(DIGITS), path)
    return [path]
