"""Train stage 2: Stackformer, raster order or masked parallel, on the pairs of a trained stage-1 model.

loss = cross-entropy of the codes + position_weight * cross-entropy of the positions
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.optim import Optimizer

from mvqlab.config import Config, ConfigError
from mvqlab.config.own_arms import PLACES, versions_in_use
from mvqlab.data import Splits, batch_indices, build_splits
from mvqlab.models.caption_tokenizer import CaptionTokenizer
from mvqlab.models.mqvae import TokenModel
from mvqlab.models.ranks import sum_over_ranks
from mvqlab.models.transformers import PairModel, build_stage2
from mvqlab.training.checkpoint import WEIGHTS, hold_run
from mvqlab.training.launch import make_fabric, seed_everything
from mvqlab.training.loop import Losses, OnModel, OnStep
from mvqlab.training.optimiser import build_optimiser, check_optimiser
from mvqlab.training.origin import Origin, origin_of, warn_of_changed_arms
from mvqlab.training.run import CountedBatch, HasState, Run
from mvqlab.training.run_settings import load_settings
from mvqlab.training.stage2_data import (
    Tokens,
    caption_tokenizer,
    cross_fitted,
    kept_tokenizer,
    tokenise_splits,
    with_captions,
)
from mvqlab.training.stage2_step import conditions_of, named, stage2_step
from mvqlab.training.tokens import TokenSet, weights_hash
from mvqlab.training.weights import check_finite_model, load_weights, tensor_shape

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.loggers import Logger


def build_transformer(config: Config, stage1: TokenModel, n_classes: int = 0) -> PairModel:
    """The untrained transformer that `config.transformer` describes, for the pairs of `stage1`."""
    model = build_stage2(
        config.transformer,
        codebook_size=stage1.codebook_size,
        side=stage1.side,
        n_pairs=stage1.n_positions if stage1.has_budgets else stage1.n_kept,
        n_classes=n_classes,
        has_end=stage1.has_budgets,
    )
    model.in_blocks = stage1.config.mask.kind == "dual_grain"
    return model


def train_stage2(
    config: Config,
    stage1: TokenModel,
    folder: Path | str,
    *,
    resume: bool = False,
    allow_changes: bool = False,
    on_step: OnStep | None = None,
    on_model: OnModel | None = None,
    loggers: Sequence[Logger] = (),
    splits: Splits | None = None,
) -> PairModel:
    """Train the transformer that `config` describes on the pairs of `stage1`; returns it in evaluation mode.

    The data set is encoded once, before the first step. `folder`, `resume`, `allow_changes` (of the data, or
    of `stage1`), `on_step`, `on_model`, `loggers`: as in `train_stage1`. A tokenizer of captions is
    learned at the start and kept.

    Warns (ScheduleWarning) where another number of steps than the run began with changes the learning rate.

    Raises CheckpointError if there is nothing to resume or a weight of `stage1` is not finite, ConfigError if
    `config` describes another stage 1 than `stage1` or an optimiser that this torch lacks, DataError where
    `stage2.half` asks for half of one image, FloatingPointError if the loss stops being finite, HeldError if
    another process is training in `folder`.
    """
    folder = Path(folder)
    check_same_stage1(config, stage1.config)
    check_optimiser(config.stage2)
    check_finite_model(stage1, "the stage 1 that was given")
    fabric = make_fabric(config.stage2.precision)
    with hold_run(folder, is_writer=fabric.is_global_zero):
        splits = splits or build_splits(config.data)
        with torch.device("meta"):  # what does not fit is said before the encoding
            build_transformer(config, stage1, splits.n_classes)
        tokenizer = None
        if config.transformer.condition == "caption":
            tokenizer = kept_tokenizer(folder, config) if resume else caption_tokenizer(config, splits)
        tokens = tokenise_splits(config, stage1.to(fabric.device).eval(), splits, fabric)
        if tokenizer is not None:
            tokens = with_captions(tokens, splits, tokenizer)
        if config.stage2.half is not None:
            tokens = cross_fitted(tokens, config)
        seed_everything(config.seed)
        model = build_transformer(config, stage1, splits.n_classes)
        origin = origin_of(splits, weights_hash(stage1), versions_in_use(config))
        origin = replace(origin, n_images=len(tokens.train))
        run = Stage2Run(config, model, tokens, folder, fabric, origin, tokenizer)
        return run.carry_out(
            resume=resume, allow_changes=allow_changes, on_step=on_step, on_model=on_model, loggers=loggers
        )


def check_same_stage1(config: Config, of_stage1: Config) -> None:
    """Raise ConfigError, naming each setting by which `config` describes another stage-1 model.

    How that model learned may differ.
    """
    changed = []
    for name in ("backbone", "mask", "quantizer", "demask"):
        section = getattr(config, name)
        wanted, there = section.plain(), getattr(of_stage1, name).plain()
        of_model = [key for key in wanted if key not in section.of_training]
        changed += [f"{name}.{key}={there[key]}" for key in of_model if wanted[key] != there[key]]
    if config.data.resolution != of_stage1.data.resolution:
        changed.append(f"data.resolution={of_stage1.data.resolution}")
    if changed:
        raise ConfigError(
            "the settings describe another stage 1 than the one given, which was trained with "
            f"{' '.join(changed)}: give stage 2 the same, or train that stage 1 first"
        )


def load_stage2(folder: Path | str, stage1: TokenModel) -> PairModel:
    """The trained transformer in `folder`, for the pairs of `stage1`, in evaluation mode.

    Of a model of captions, `models.caption_tokenizer.load_caption_tokenizer` reads the tokenizer beside it.
    Raises CheckpointError. Warns (ChangedArmWarning) where an arm of one's own is not what it was.
    """
    folder = Path(folder)
    config, weights = load_settings(folder), folder / WEIGHTS
    warn_of_changed_arms(folder, config, PLACES)
    n_classes = 0
    if config.transformer.condition == "class":
        n_rows = tensor_shape(weights, "start.classes.weight")[0]
        n_classes = n_rows - (config.transformer.condition_dropout > 0.0)
    model = build_transformer(config, stage1, n_classes)
    load_weights(model, weights)
    return model.eval()


class Stage2Run(Run[PairModel, TokenSet]):
    """A training run of stage 2: the transformers, and the pairs that they learn."""

    stage = 2

    def __init__(
        self,
        config: Config,
        model: PairModel,
        tokens: Tokens,
        folder: Path,
        fabric: Fabric,
        origin: Origin,
        tokenizer: CaptionTokenizer | None = None,
    ) -> None:
        super().__init__(config, config.stage2, model.to(fabric.device), folder, fabric, origin)
        self.tokens, self.tokenizer = tokens, tokenizer
        self.model, self.optimiser = fabric.setup(self.bare, build_optimiser(model, config.stage2))
        self.model.mark_forward_method("loss")

    def parts(self) -> dict[str, HasState]:
        return {"optimiser": self.optimiser}

    def optimisers(self) -> list[Optimizer]:
        return [self.optimiser]

    def more_state(self) -> dict[str, Any]:
        captions = {} if self.tokenizer is None else {"captions": self.tokenizer.to_text()}
        return {"stage1": self.origin.stage1, **captions}

    def save_more(self) -> None:
        """The tokenizer of captions, if they are what images are drawn from."""
        if self.tokenizer is not None:
            self.tokenizer.save(self.folder)

    def stream(self, step: int) -> Iterator[TokenSet]:
        options, fabric = self.options, self.fabric
        whole, n_tokens = options.batch_size * fabric.world_size, len(self.tokens.train)
        mine = slice(fabric.global_rank * options.batch_size, (fabric.global_rank + 1) * options.batch_size)
        for n in count(step * options.accumulate):
            rows = batch_indices(n_tokens, whole, self.config.seed, n)[mine]
            yield self.tokens.train[torch.tensor(rows)].to(fabric.device)

    def batches_of_a_step(self, stream: Iterator[TokenSet]) -> Iterator[CountedBatch[TokenSet]]:
        """Losses are means over a batch's pairs: of more and of fewer, means must not count alike."""
        batches = [next(stream) for _ in range(self.options.accumulate)]
        counts = torch.stack([batch.pairs.lengths.sum() for batch in batches])  # (accumulate,)
        mine, everyone = counts.sum(), sum_over_ranks(counts.sum()) / self.fabric.world_size
        for batch, n_pairs in zip(batches, counts, strict=True):
            yield CountedBatch(batch, everyone / n_pairs, mine / n_pairs)

    def update(self, step: int, part: CountedBatch[TokenSet], is_last: bool) -> Losses:
        with self.updates.of_batch(part.in_gradients, is_last, self.model):
            return stage2_step(self.model, self.optimiser, part.batch, self.config, self.updates)

    @torch.no_grad()
    def validate(self) -> Losses:
        """Mean losses over all held-out pairs, and over as many training images (`seen_`): dropout off.

        With them `pairs`, how many a held-out image has on average.
        """
        held_out = self.tokens.validation
        seen = self._mean_losses(self.tokens.train[: len(held_out)])
        losses = self._mean_losses(held_out) | {f"seen_{name}": value for name, value in seen.items()}
        return losses | {"pairs": held_out.pairs.lengths.double().mean()}

    def _mean_losses(self, tokens: TokenSet) -> Losses:
        model, size = self.average.model.eval(), self.config.stage2.batch_size
        sums: Losses = {}
        n_pairs = torch.zeros((), dtype=torch.long, device=self.fabric.device)
        for first in range(0, len(tokens), size):
            batch = tokens[first : first + size].to(self.fabric.device)
            with self.fabric.autocast():
                losses = named(model.loss(batch.pairs, conditions_of(batch, self.config)))
            of_batch = batch.pairs.lengths.sum()
            n_pairs += of_batch
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value * of_batch
        self.bare.train()
        return {name: value / n_pairs for name, value in sums.items()}
