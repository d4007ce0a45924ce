"""The settings that a training of stage 1 goes by: all but those which only later steps read."""

from __future__ import annotations

from mvqlab.config.settings import Config, EvaluationConfig, SamplingConfig, Stage2Config, TransformerConfig


def stage1_settings(config: Config) -> Config:
    """`config` as far as a training of stage 1 reads it; the rest is as it is by default, and no stage 2.

    Where these are equal for two configs, so are their trainings, to the bit. What is not known to be without
    effect counts, what changes speed alone counts, too, as it is measured. Of `evaluation`, validation reads
    how many images it is and how many at a time.

    `mask.evaluation_ratio` is what later steps drop; validation then goes by the ratios of the training. But
    a threshold of budgets is learned at that very ratio.
    """
    mask = config.mask
    if mask.budget != "threshold":
        mask = mask.model_copy(update={"evaluation_ratio": None})
    read = {name: getattr(config.evaluation, name) for name in ("images", "batch_size")}
    only_later = {
        "preset": Config.model_fields["preset"].default,
        "data": config.data.model_copy(update={"cache_tokens": False}),
        "mask": mask,
        "transformer": TransformerConfig(model="none"),
        "stage2": Stage2Config(),
        "sampling": SamplingConfig(),
        "evaluation": EvaluationConfig().model_copy(update=read),
    }
    return config.model_copy(update=only_later)
