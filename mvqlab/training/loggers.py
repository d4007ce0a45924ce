"""Where curves go besides their CSV, through Fabric's interface of loggers: TensorBoard, Weights & Biases.

    train_stage1(config, folder, loggers=[wandb_logger(folder, "my project", config)])

Anything else that Fabric's `Logger` describes will do as well.
"""

from __future__ import annotations

from argparse import Namespace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvqlab.config import Config
from mvqlab.support.files import write_text_whole
from mvqlab.training.launch import fabric_package

if TYPE_CHECKING:
    from lightning_fabric.loggers import Logger

WANDB_RUN = "wandb_run.txt"  # in the folder of a run: its name there, by which it goes on


class NoLoggerError(ModuleNotFoundError):
    """A logger was asked for whose package is not installed. The message says how to get it."""


def tensorboard_logger(folder: Path) -> Logger:
    """Writes to `folder`/tensorboard. Raises NoLoggerError."""
    loggers = import_module(f"{fabric_package().__name__}.loggers")
    try:
        return loggers.TensorBoardLogger(folder, name="tensorboard", version="")
    except ModuleNotFoundError:
        raise NoLoggerError(
            "tensorboard logs were asked for, but tensorboard is not installed: "
            "pip install 'mvqlab[tensorboard]', or set tensorboard=false"
        ) from None


def wandb_logger(folder: Path, project: str, config: Config, *, resume: bool = False) -> Logger:
    """Sends curves and settings to a project of Weights & Biases, a run a folder.

    With `resume` the run goes on that the folder had before. Nothing leaves this machine with
    WANDB_MODE=offline: then all is kept in `folder`/wandb, for `wandb sync` to send later. Raises
    NoLoggerError.
    """
    try:
        wandb = import_module("wandb")
    except ModuleNotFoundError:
        raise NoLoggerError(
            "--wandb was asked for, but wandb is not installed: pip install 'mvqlab[wandb]'"
        ) from None
    package = fabric_package().__name__
    base = import_module(f"{package}.loggers.logger")
    rank_zero_only = import_module(f"{package}.utilities.rank_zero").rank_zero_only

    class WandbLogger(base.Logger):  # type: ignore[name-defined]  # Fabric is imported where a training starts
        """A run of Weights & Biases, begun with the first value."""

        _run: Any = None

        @property
        def name(self) -> str:
            return project

        @property
        def version(self) -> str | None:
            return None if self._run is None else str(self._run.id)

        @property
        @base.rank_zero_experiment
        def experiment(self) -> Any:
            if self._run is None:
                known = folder / WANDB_RUN
                before = known.read_text(encoding="utf-8").strip() if resume and known.exists() else None
                folder.mkdir(parents=True, exist_ok=True)
                self._run = wandb.init(
                    project=project,
                    name=folder.name,
                    dir=str(folder),
                    id=before,
                    resume="allow" if before else None,
                    config=config.model_dump(mode="json"),
                )
                write_text_whole(known, f"{self._run.id}\n")
            return self._run

        @rank_zero_only
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            # held-out losses come after training losses of the same step
            self.experiment.log(dict(metrics), step=step)

        @rank_zero_only
        def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
            self.experiment.config.update(params if isinstance(params, dict) else vars(params))

        @rank_zero_only
        def finalize(self, status: str) -> None:
            if self._run is not None:
                self._run.finish(exit_code=0 if status == "success" else 1)
                self._run = None

    return WandbLogger()
