"""A moving average of the weights, which often samples and reconstructs better than the last ones."""

from __future__ import annotations

from typing import Generic, TypeVar, cast

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Model = TypeVar("Model", bound=nn.Module)


class WeightAverage(Generic[Model]):
    """w <- decay * w + (1 - decay) * weights, after every step; with a decay of 0 the weights themselves.

    Buffers (codebook, batch norm) are no weights: they are taken as they are.
    """

    def __init__(self, model: Model, decay: float) -> None:
        self._trained = model
        self._average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay)) if decay else None

    @property
    def model(self) -> Model:
        """The model to keep: the average, or the trained one where there is none."""
        return self._trained if self._average is None else cast(Model, self._average.module)

    def update(self) -> None:
        """Take the trained weights, after a step, into the average."""
        if self._average is not None:
            self._average.update_parameters(self._trained)

    def state_dict(self) -> dict:
        """What to go on from; empty where there is no average."""
        return {} if self._average is None else self._average.state_dict()

    def load_state_dict(self, state: dict) -> None:
        """Go on from `state`."""
        if self._average is not None:
            self._average.load_state_dict(state)
