"""One training of stage 1 for all who need the same: points of a grid that differ in later steps alone.

shared/    a run of stage 1 as `train_stage1` leaves it, with its state
folder/    of each who asks: settings as asked, weights, curves and origin, without a state to go on from
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import torch

from mvqlab.config import Config, stage1_settings
from mvqlab.data import Splits, build_splits
from mvqlab.models.mqvae import TokenModel, build_stage1, quickest_layout
from mvqlab.support.files import whole_file, write_text_whole
from mvqlab.support.locks import HeldError
from mvqlab.support.plain import json_text
from mvqlab.support.progress import PROGRESS_FILE
from mvqlab.training.checkpoint import WEIGHTS, CheckpointError, hold_run
from mvqlab.training.launch import check_machine, make_fabric, seed_everything
from mvqlab.training.origin import Origin, save_origin
from mvqlab.training.run_settings import check_same_training, save_settings
from mvqlab.training.stage1 import Stage1Run, check_codebook_starts
from mvqlab.training.state import has_state, remove_state
from mvqlab.training.weights import write_weights


def stage1_once(
    config: Config, folder: Path | str, shared: Path | str, *, splits: Splits | None = None
) -> TokenModel:
    """The stage 1 that `config` describes, trained in the folder `shared` by whoever needs it first.

    A finished run there is taken, one that was cut short is gone on with, and where there is none it is
    trained. While another process does that, this one waits, says so, and takes over should the other die.

    The training goes by `stage1_settings(config)`, so that it is the same whoever comes first; the model that
    is returned, in evaluation mode, is what `train_stage1` with `config` itself returns, to the bit, and
    torch's generators stand as after that. `folder` receives what is needed to load it. For one process, not
    for several of `torchrun`.

    Raises what `train_stage1` does, HeldError of `folder` alone, and CheckpointError where `shared` holds
    something else than that training: other settings, other data, weights without a state.
    """
    folder, shared = Path(folder), Path(shared)
    if folder.resolve() == shared.resolve():
        raise CheckpointError(f"{shared} cannot be both shared and a run's own: name another folder for one")
    check_machine(config)
    check_codebook_starts(config)
    wanted, splits = stage1_settings(config), splits or build_splits(config.data)
    fabric = make_fabric(config.stage1.precision)
    with _in_turn(shared, folder):
        _check_is_that_training(wanted, shared)
        seed_everything(config.seed)
        run = Stage1Run(wanted, shared, fabric, splits)
        run.progress_folder = folder
        model = _as_asked(run.carry_out(resume=has_state(shared)), config)
        _keep(model, config, run.origin, shared, folder)
    return model


@contextmanager
def _in_turn(shared: Path, folder: Path) -> Iterator[None]:
    """Hold `shared` as soon as no other process does; say, in `folder` too, that it is waited for."""
    has_said = False
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(hold_run(shared))
                break
            except HeldError as error:
                if not has_said:
                    has_said = True
                    _say_that_it_waits(str(error), folder)
        yield


def _say_that_it_waits(why: str, folder: Path) -> None:
    print(f"{why}: waiting for that stage 1", flush=True)
    state = {"stage": "waiting for the stage 1 that another process trains"}
    with suppress(OSError):
        write_text_whole(folder / PROGRESS_FILE, json_text(state))


def _check_is_that_training(wanted: Config, shared: Path) -> None:
    """Raise CheckpointError if `shared` holds something else than a training by the settings `wanted`."""
    if has_state(shared):
        check_same_training(wanted, shared)
    elif (shared / WEIGHTS).exists():
        raise CheckpointError(
            f"{shared} holds weights without a training state, which would be replaced: name another folder, "
            "or remove that one"
        )


def _as_asked(trained: TokenModel, config: Config) -> TokenModel:
    """`trained` as a training by `config` itself leaves it: what is dropped outside training may differ."""
    device = next(trained.parameters()).device
    with torch.random.fork_rng(devices=[]):
        model = build_stage1(config)
    model.load_state_dict(trained.state_dict())
    model = model.to(device, memory_format=quickest_layout(device))  # type: ignore[call-overload]
    if config.stage1.compile and not config.stage1.weight_average:
        model.compile()
    return model.eval()


def _keep(model: TokenModel, config: Config, origin: Origin, shared: Path, folder: Path) -> None:
    """Write what is needed to load `model`, and its curves, to `folder`, replacing what is there."""
    with hold_run(folder):
        remove_state(folder)  # of another run: nothing that is written here goes on from it
        save_settings(config, folder)
        save_origin(origin, folder)
        with whole_file(folder / "curves.csv") as temporary:
            shutil.copyfile(shared / "curves.csv", temporary)
        write_weights(model, folder / WEIGHTS, step=config.stage1.steps, stage=1)
