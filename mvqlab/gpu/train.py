"""Train the models that ship on real images, one after another, to the best that the seconds given allow.

What a model that failed leaves over goes to those after it. Runs lie in FOLDER/NAME as any training leaves
them; `bundle` packs them whenever a model is saved, so that what was learned comes back whole even if the
machine is taken away.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mvqlab.gpu.bundles import bundle
from mvqlab.gpu.device_sets import DATA
from mvqlab.gpu.pack import Arrays, read_pack
from mvqlab.gpu.parts import Report, device_for, release_memory
from mvqlab.gpu.plan import (
    PLAN,
    PlanError,
    Planned,
    config_of,
    preparations,
    that_fit,
    training_seconds,
)
from mvqlab.models.mqvae import TokenModel
from mvqlab.support.files import check_nothing_in_the_way
from mvqlab.support.saved_step import step_of
from mvqlab.training import load_stage1
from mvqlab.training.checkpoint import WEIGHTS
from mvqlab.training.device_run import words
from mvqlab.training.on_device import train_stage1_on_device, train_stage2_on_device
from mvqlab.training.stage2 import check_same_stage1


class ShippingStage1(NamedTuple):
    """A stage 1 as it ships, and what is to be said about it: nothing, if it was trained long enough."""

    model: TokenModel
    remark: str


LEAST_QUANTISED = 10  # times `quantizer.start_step`: with fewer steps, the codes have hardly been learned


def train(
    pack: Path,
    folder: Path,
    seconds: float,
    device: str | None = None,
    *,
    only: Iterable[str] | None = None,
    overrides: Iterable[str] = (),
    bundles: Path | None = None,
    compile_blocks: bool = False,
    results: Path | None = None,
    fresh: bool = False,
) -> int:
    """Train the plan from the file `pack`, with a row a model in the report of stage "train".

    seconds: in all, the reading of the pack included. only: names of `PLAN`; a transformer whose stage 1 is
    not among them learns from the one in `folder`. results: where the report goes, by default to the
    `bundles` or, without them, to `folder`; rows of other models that are there already stay. fresh: models
    of the plan that are in `folder` already may be trained over. Returns an exit code, 1 if a model failed.
    Raises PlanError, InTheWayError, NoGpuError, DeviceError, PackError, ReportError; CheckpointError or
    ConfigError for a stage 1 in `folder` that cannot be learned from.
    """
    began = time.perf_counter()
    unknown = sorted(set(only or ()) - {planned.name for planned in PLAN})
    if unknown:
        raise PlanError(f"no {', '.join(unknown)} in the plan: {', '.join(one.name for one in PLAN)}")
    plan = [planned for planned in PLAN if only is None or planned.name in set(only)]
    if not pack.exists():
        raise PlanError(f"there is no {pack}: make it on any machine, with `mvqlab gpu pack {pack}`")
    for planned in () if fresh else plan:
        check_nothing_in_the_way(folder / planned.name, "--fresh trains over it, --out FOLDER elsewhere")
    on = device_for(device)
    stages1 = _stages1_in(folder, plan, overrides)
    report = Report(results or bundles or folder, "train", on, keeps_others=True)
    arrays = read_pack(pack)
    report.add("pack", value=sum(array.nbytes for array in arrays.values()) / 2**20, unit="MiB")
    left = seconds - (time.perf_counter() - began)
    train_plan(
        arrays,
        folder,
        left,
        on,
        plan=plan,
        overrides=overrides,
        bundles=bundles,
        compile_blocks=compile_blocks,
        report=report,
        stages1=stages1,
    )
    return report.finish()


def _stages1_in(folder: Path, plan: Sequence[Planned], overrides: Iterable[str]) -> dict[str, ShippingStage1]:
    """What transformers of `plan` learn from that it does not train, from their runs in `folder`, by name.

    Raises PlanError where there is none; CheckpointError, ConfigError.
    """
    names = {planned.name for planned in plan}
    found: dict[str, ShippingStage1] = {}
    for planned in plan:
        if planned.stage1 is None or planned.stage1 in names:
            continue
        run = folder / planned.stage1
        if not (run / WEIGHTS).exists():
            raise PlanError(
                f"{planned.name} learns from {planned.stage1}, which is not asked for and not in {folder}: "
                f"ask for both (--only {planned.stage1} {planned.name}), or name the folder that holds it "
                "with --out"
            )
        model = load_stage1(run)
        check_same_stage1(config_of(planned, overrides), model.config)
        start_step = model.config.quantizer.start_step
        found[planned.stage1] = as_shipped(model, step_of(run / WEIGHTS), start_step)
    return found


def train_plan(
    arrays: Arrays,
    folder: Path,
    seconds: float,
    device: torch.device,
    *,
    plan: Iterable[Planned] = PLAN,
    overrides: Iterable[str] = (),
    bundles: Path | None = None,
    compile_blocks: bool = False,
    report: Report,
    stages1: Mapping[str, ShippingStage1] | None = None,
) -> None:
    """Train every model of `plan` into `folder`/NAME within `seconds`, a row of `report` each.

    Those at the end of the plan are left out if preparing them leaves less than half of the time to train.

    arrays: from `gpu.pack.read_pack`. overrides: of every model, after its own. bundles: where tar files go.
    stages1: what was trained before, and transformers of the plan learn from, by name.
    """
    deadline = time.perf_counter() + seconds
    plan = list(plan)
    waiting = that_fit(plan, seconds, device, compile_blocks)
    for planned in plan[len(waiting) :]:
        report.add(
            planned.name, "skipped", note=f"preparing all up to it takes more than half of {seconds:.0f} s"
        )
    preparing = preparations(waiting, device, compile_blocks)
    trained = dict(stages1 or {})
    while waiting:
        left = deadline - time.perf_counter()
        mine = training_seconds(waiting, left, preparing)
        planned = waiting.pop(0)
        within = left - sum(preparing[later.name] for later in waiting)
        print(f"{planned.name}: {mine:.0f} of {left:.0f} s left, and its preparation", flush=True)
        if planned.stage1 is not None and planned.stage1 not in trained:
            report.add(planned.name, "skipped", note=f"{planned.stage1} was not trained")
            continue
        how = {"compile_blocks": compile_blocks, "say": partial(print, flush=True)}
        if bundles is not None:
            how["on_save"] = partial(bundle, folder, bundles, planned.group)
        try:
            end = time.perf_counter() + within
            held_out, remark = _train(planned, arrays, folder, mine, end, device, overrides, trained, how)
            name, value = next(iter(held_out.items()))
            note = "; ".join(filter(None, (words(held_out), remark)))
            report.add(planned.name, value=value, unit="dB" if "psnr" in name else "nats", note=note)
        except Exception as error:  # the other models go on
            report.failed(planned.name, error)
        release_memory()


def _train(
    planned: Planned,
    arrays: Arrays,
    folder: Path,
    seconds: float,
    deadline: float,
    device: torch.device,
    overrides: Iterable[str],
    trained: dict[str, ShippingStage1],
    how: dict[str, Any],
) -> tuple[dict[str, float], str]:
    """Train one model for `seconds` once it is prepared, at most until `deadline` by `time.perf_counter`.

    Returns its last held-out measures, and a remark if its codes, or those it learns from, are too young.
    """
    config = config_of(planned, overrides)
    data = DATA[planned.data](arrays, config, device)
    how = {**how, "within": deadline - time.perf_counter()}
    run = folder / planned.name
    if planned.stage1 is None:
        done = train_stage1_on_device(config, data.source, data.held_out.images, run, seconds, **how)
        trained[planned.name] = as_shipped(done.model, done.n_steps, config.quantizer.start_step)
        remark = trained[planned.name].remark
    else:
        more = {"n_classes": data.n_classes, "tokenizer": data.tokenizer, **how}
        stage1, of_stage1 = trained[planned.stage1]
        remark = of_stage1 and f"codes of {planned.stage1}, which is {of_stage1}"
        done = train_stage2_on_device(config, stage1, data.source, data.held_out, run, seconds, **more)
    return {**done.held_out, "steps": done.n_steps}, remark


def as_shipped(model: TokenModel, n_steps: int | None, start_step: int) -> ShippingStage1:
    """`model`, trained for `n_steps` (None: not known), as it ships.

    What stage 2 learns are the codes of the weights in half precision.
    """
    remark = "" if n_steps is None else of_few_steps(n_steps, start_step)
    return ShippingStage1(model.half().float(), remark)


def of_few_steps(n_steps: int, start_step: int) -> str:
    """What is to be said of a stage 1 after `n_steps`, if few of them quantised; else nothing."""
    quantised = n_steps - start_step
    if quantised >= LEAST_QUANTISED * start_step:
        return ""
    return f"too short: {quantised} steps with codes, fewer than {LEAST_QUANTISED} x start_step {start_step}"
