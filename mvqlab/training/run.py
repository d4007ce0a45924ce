"""What both stages' trainings share: the loop, the state on disk, resuming, curves and the weights to keep.

What a single step does stands in `stage1_step` and `stage2_step`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from torch import Tensor, nn
from torch.optim import Optimizer

from mvqlab.config import Config, OptimiserConfig
from mvqlab.training.average import WeightAverage
from mvqlab.training.checkpoint import WEIGHTS
from mvqlab.training.curves import Curves
from mvqlab.training.launch import seed_noise
from mvqlab.training.loggers import tensorboard_logger
from mvqlab.training.loop import Losses, OnModel, OnStep, run_steps, with_model
from mvqlab.training.origin import Origin, check_same_origin, origin_of_state, save_origin
from mvqlab.training.run_settings import as_begun, check_same_run, save_settings
from mvqlab.training.schedule import learning_rate, set_learning_rate, tell_of_other_schedule
from mvqlab.training.state import (
    load_state,
    random_state,
    save_state,
    set_random_state,
    settings_of_state,
    taken_from,
)
from mvqlab.training.updates import FabricUpdates
from mvqlab.training.weights import check_finite_tensors, holds_weights_of, write_weights

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.loggers import Logger

Item = TypeVar("Item")  # what a stage's batches are
Model = TypeVar("Model", bound=nn.Module)


class HasState(Protocol):
    """What can be saved and gone on from: modules, optimisers."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


class CountedBatch(NamedTuple, Generic[Item]):
    """One of the batches that a step is made of, and what its mean loss is divided by.

    in_gradients: in the backward pass, over all processes. in_curves: in the curves, of this process.
    """

    batch: Item
    in_gradients: float | Tensor
    in_curves: float | Tensor


class Run(ABC, Generic[Model, Item]):
    """A training run: a model, what it is trained with, the steps done, and its folder.

    A stage says what a step is (`update`), where batches come from, what is validated, and which `parts` have
    a state besides the model and the average of its weights.
    """

    stage: int

    def __init__(
        self,
        config: Config,
        options: OptimiserConfig,
        model: Model,
        folder: Path,
        fabric: Fabric,
        origin: Origin,
    ) -> None:
        """options: the stage's own settings. model: on its device."""
        self.config, self.options, self.folder, self.fabric = config, options, folder, fabric
        self.progress_folder = folder  # where others see how far the run is
        self.origin, self.bare = origin, model
        self.step = 0
        self.replaces_earlier = False
        self.loggers: Sequence[Logger] = ()
        self.average = WeightAverage(model, options.weight_average)
        self.updates = FabricUpdates(fabric)
        if options.compile:
            model.compile()

    @abstractmethod
    def parts(self) -> dict[str, HasState]:
        """What has a state besides the model and its average, by the names in the file."""

    @abstractmethod
    def optimisers(self) -> list[Optimizer]:
        """Those whose rates follow the schedule."""

    @abstractmethod
    def stream(self, step: int) -> Iterator[Item]:
        """This process's batches from `step` on, `options.accumulate` of them a step."""

    @abstractmethod
    def batches_of_a_step(self, stream: Iterator[Item]) -> Iterator[CountedBatch[Item]]:
        """The next `options.accumulate` batches, on the device."""

    @abstractmethod
    def update(self, step: int, part: CountedBatch[Item], is_last: bool) -> Losses:
        """The stage's training step with a batch of step number `step`; returns its losses."""

    @abstractmethod
    def validate(self) -> Losses:
        """Held-out losses of the model that is kept."""

    def prepare(self, step: int) -> None:
        """Whatever has to happen before step number `step`."""

    def more_state(self) -> dict[str, Any]:
        """What else belongs into the state."""
        return {}

    def save_more(self) -> None:
        """Write what else lies in the folder of a run."""

    def carry_out(
        self,
        *,
        resume: bool = False,
        allow_changes: bool = False,
        on_step: OnStep | None = None,
        on_model: OnModel | None = None,
        loggers: Sequence[Logger] = (),
    ) -> Model:
        """Train to the last step, from the first or from the state in the folder: see `train_stage1`.

        Returns the model that is kept, in evaluation mode.
        """
        own = [tensorboard_logger(self.folder)] if self.options.tensorboard else []
        self.loggers = [*own, *loggers]
        if resume:
            self.load(allow_changes=allow_changes)
        else:
            self.start()
        stream = self.stream(self.step)
        self.bare.train()
        ended = "failed"
        try:
            run_steps(
                f"stage {self.stage}",
                self.options,
                self.step,
                take_step=lambda step: self.take_step(step, stream),
                validate=self.validate,
                save=self.save,
                curves=self.curves,
                folder=self.progress_folder,
                on_step=with_model(on_step, on_model, self.average.model, self.bare),
            )
            ended = "success"
        finally:
            for logger in self.loggers:
                logger.finalize(ended)
        return self.average.model.eval()

    def take_step(self, step: int, stream: Iterator[Item]) -> Losses:
        """Step number `step`: rates, one update from one batch or more, the average; returns mean losses."""
        for optimiser in self.optimisers():
            set_learning_rate(optimiser, learning_rate(step, self.options))
        self.prepare(step)
        losses: Losses = {}
        for n, part in enumerate(self.batches_of_a_step(stream), start=1):
            of_batch = self.update(step, part, is_last=n == self.options.accumulate)
            for name, value in of_batch.items():
                losses[name] = losses.get(name, 0.0) + value / part.in_curves
        self.average.update()
        return losses

    def start(self) -> None:
        """Begin afresh. An earlier run in the folder stays as it is until this one is first saved."""
        self.replaces_earlier = True
        seed_noise(self.config.seed, self.fabric.global_rank)
        self.curves = Curves(self.folder, loggers=self.loggers)

    def load(self, *, allow_changes: bool = False) -> None:
        """Go on from the state in the folder."""
        path = self.folder / "state.pt"
        state = load_state(path, self.stage, self.options.steps)
        before = settings_of_state(state, self.folder)
        self.config = as_begun(self.config, before)
        check_same_run(self.config, self.folder, f"stage{self.stage}", before)
        with taken_from(path):
            check_same_origin(origin_of_state(state), self.origin, self.folder, allow_changes=allow_changes)
            self.step = state["step"]
            for name, part in self._all_parts().items():
                part.load_state_dict(state[name])
            seed_noise(self.config.seed, self.fabric.global_rank, self.step)
            set_random_state(state["random"], self.fabric.global_rank)
        if before is not None:
            tell_of_other_schedule(getattr(before, f"stage{self.stage}"), self.options, self.step)
        self.curves = Curves(self.folder, self.step, self.loggers)
        if self.fabric.is_global_zero:
            self.save_more()  # as it is in the state, whatever lies there
            if not holds_weights_of(self.folder / WEIGHTS, self.average.model):
                self._write_weights()  # lost, damaged, or the run was killed before it wrote them

    def save(self, step: int) -> None:
        """Write curves, state and, last, weights after `step` steps: a run goes on from what a kill left.

        Raises FloatingPointError, before anything is written, if a tensor is not finite.
        """
        state = self._state(step)
        check_finite_tensors(state, f"stage {self.stage} after step {step}")
        if not self.fabric.is_global_zero:
            return
        self.step = step
        self.curves.save()
        save_state(state, self.folder / "state.pt", keeps_previous=not self.replaces_earlier)
        if self.replaces_earlier:
            (self.folder / WEIGHTS).unlink(missing_ok=True)  # or a kill would leave them beside another state
            self.replaces_earlier = False
        save_settings(self.config, self.folder)
        save_origin(self.origin, self.folder)
        self.save_more()
        self._write_weights()

    def _all_parts(self) -> dict[str, HasState]:
        return {"model": self.bare, "average": self.average, **self.parts()}

    def _state(self, step: int) -> dict[str, Any]:
        """All that a run goes on from; all processes must call this together."""
        return {
            "stage": self.stage,
            "settings": self.config.model_dump(mode="json"),
            "trained_on": self.origin.record(),
            "step": step,
            **{name: part.state_dict() for name, part in self._all_parts().items()},
            "random": random_state(),
            **self.more_state(),
        }

    def _write_weights(self) -> None:
        write_weights(self.average.model, self.folder / WEIGHTS, step=self.step, stage=self.stage)
