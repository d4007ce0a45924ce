"""Train the models that ship on real images, one after another, to the best that the seconds given allow.

Each model is a line of `PLAN`: a preset, what is changed in it, and its share of the time that is left when
all are prepared (`preparations`: steps before quantising, cuDNN's search, captures, compilation). What a
model that failed leaves over goes to those after it. Runs lie in FOLDER/NAME as any training leaves them;
`bundle` packs them, with weights in half precision, into a few tar files that are written anew whenever a
model is saved, so that what was learned comes back whole even if the machine is taken away.
"""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from mvqlab.config import Config, load_config, merged
from mvqlab.data.shapes import SHAPE_NAMES
from mvqlab.gpu.pack import Arrays, captions_of, read_pack
from mvqlab.gpu.parts import Report, device_for, release_memory
from mvqlab.models.caption_tokenizer import FILE_NAME as CAPTIONS
from mvqlab.models.caption_tokenizer import CaptionTokenizer, train_caption_tokenizer
from mvqlab.models.mqvae import TokenModel
from mvqlab.support.files import check_nothing_in_the_way, whole_file
from mvqlab.support.saved_step import step_of
from mvqlab.training import load_stage1
from mvqlab.training.checkpoint import WEIGHTS
from mvqlab.training.device_data import (
    Drawings,
    DrawnImages,
    ImageSource,
    Mixture,
    StoredImages,
    halved,
    photo_windows,
)
from mvqlab.training.device_run import words
from mvqlab.training.on_device import train_stage1_on_device, train_stage2_on_device
from mvqlab.training.stage2 import check_same_stage1


@dataclass(frozen=True)
class Planned:
    """A model to train. stage1: the planned stage 1 that a transformer belongs to. seconds: of training once
    it is prepared, to be stretched or shortened as all others are."""

    name: str
    group: str  # the bundle that it comes back in
    data: str
    preset: str
    seconds: float
    overrides: tuple[str, ...] = ()
    stage1: str | None = None


class ShippingStage1(NamedTuple):
    """A stage 1 as it ships, and what is to be said about it: nothing, if it was trained long enough."""

    model: TokenModel
    remark: str


class DeviceData(NamedTuple):
    """A data set on the device: what is drawn in training, and the held-out pixels with their conditions."""

    source: ImageSource
    held_out: DrawnImages
    n_classes: int = 0
    tokenizer: CaptionTokenizer | None = None


# Seconds that preparing a model takes before its captured steps begin, by stage, and what its blocks add if
# they are the first that are compiled: as it was on an H100 (results/gpu), with 300 steps before quantising.
PREPARING = {1: 14.0, 2: 1.0}
COMPILING = {1: 32.0, 2: 7.0}
LEAST_QUANTISED = 10  # times `quantizer.start_step`: with fewer steps, the codes have hardly been learned

Changes = tuple[str, ...]
LARGE_BATCH: Changes = (
    "stage1.batch_size=256",
    "stage1.learning_rate=1.5e-3",
    "stage1.warmup_steps=200",
)
LARGE_BATCH += ("stage1.weight_average=0.998", "stage1.precision=bf16-mixed", "stage1.gradient_clip=1.0")
LARGE_BATCH += ("quantizer.start_step=300", "stage1.betas=[0.9,0.99]")
PATCHES: Changes = ("backbone.kind=patch", "backbone.block=depthwise", "backbone.base_channels=160")
PATCHES += ("backbone.residual_blocks=2", "backbone.feature_dim=96", "demask.layers=3")
SMALL_PATCHES: Changes = (*PATCHES, "backbone.base_channels=96", "backbone.feature_dim=64")
LONG: Changes = ("stage2.batch_size=256", "stage2.learning_rate=1e-3", "stage2.warmup_steps=200")
LONG += ("stage2.weight_average=0.999", "stage2.precision=bf16-mixed", "stage2.gradient_clip=1.0")
PLAIN: Changes = ("mask.kind=none", "mask.mask_ratio=0", "transformer.model=raster")
SIMPLE: Changes = (
    *SMALL_PATCHES,
    "backbone.base_channels=64",
    "backbone.feature_dim=48",
    "demask.layers=2",
)
SIMPLE += ("quantizer.codebook_size=256", "transformer.width=112")
CAPTIONED: Changes = ("transformer.condition=caption", "transformer.caption_length=16")
FASHION: Changes = (*SMALL_PATCHES, "transformer.width=144", "transformer.code_layers=3")
EMOJI: Changes = (*PATCHES, "mask.evaluation_ratio=0.75", "transformer.width=160")
EMOJI_128: Changes = (
    *EMOJI,
    "data.resolution=128",
    "backbone.patch_size=8",
    "backbone.base_channels=192",
)

PLAN = (
    Planned("fashion_mqvae", "fashion", "fashion", "fashion32", 25, (*FASHION, *LARGE_BATCH)),
    Planned("fashion_stackformer", "fashion", "fashion", "fashion32", 45, (*FASHION, *LONG), "fashion_mqvae"),
    Planned("simple_mqvae", "simple", "simple", "simple32", 12, (*SIMPLE, *LARGE_BATCH)),
    Planned("simple_stackformer", "simple", "simple", "simple32", 22, (*SIMPLE, *LONG), "simple_mqvae"),
    Planned("emoji_mqvae", "emoji", "emoji", "emoji64", 80, (*EMOJI, *LARGE_BATCH)),
    Planned("anything_mqvae", "anything", "anything", "anything64", 110, (*PATCHES, *LARGE_BATCH)),
    Planned("emoji_stackformer", "emoji", "emoji", "emoji64", 45, (*EMOJI, *LONG), "emoji_mqvae"),
    Planned(
        "simple_captions",
        "simple",
        "simple_captions",
        "simple32",
        28,
        (*SIMPLE, *CAPTIONED, *LONG),
        "simple_mqvae",
    ),
    Planned("fashion_plain_vq", "plain", "fashion", "fashion32", 20, (*FASHION, *PLAIN, *LARGE_BATCH)),
    Planned(
        "fashion_raster",
        "plain",
        "fashion",
        "fashion32",
        45,
        (*FASHION, *PLAIN, *LONG),
        "fashion_plain_vq",
    ),
    Planned("simple_plain_vq", "plain", "simple", "simple32", 10, (*SIMPLE, *PLAIN, *LARGE_BATCH)),
    Planned("simple_raster", "plain", "simple", "simple32", 22, (*SIMPLE, *PLAIN, *LONG), "simple_plain_vq"),
    Planned("emoji128_mqvae", "emoji128", "emoji", "emoji64", 70, (*EMOJI_128, *LARGE_BATCH)),
)


class PlanError(ValueError):
    """A model that is asked for is not in the plan. The message says which are."""


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
        check_same_stage1(_config_of(planned, overrides), model.config)
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


def preparations(plan: Iterable[Planned], device: torch.device, compile_blocks: bool) -> dict[str, float]:
    """Seconds that preparing each model of `plan` takes, by name, roughly; 0 where nothing is captured."""
    seconds: dict[str, float] = {}
    compiled: set[int] = set()
    for planned in plan:
        stage = 1 if planned.stage1 is None else 2
        is_first = compile_blocks and stage not in compiled
        compiled.add(stage)
        seconds[planned.name] = (
            PREPARING[stage] + is_first * COMPILING[stage] if device.type == "cuda" else 0.0
        )
    return seconds


def that_fit(
    plan: Iterable[Planned], seconds: float, device: torch.device, compile_blocks: bool
) -> list[Planned]:
    """As many models of `plan`, from its first, as can be prepared in half of `seconds`."""
    fitting = list(plan)
    while fitting and sum(preparations(fitting, device, compile_blocks).values()) > seconds / 2.0:
        fitting.pop()
    return fitting


def training_seconds(waiting: Sequence[Planned], left: float, preparing: dict[str, float]) -> float:
    """Seconds that the first of `waiting` trains: its share of those `left` when all of them are prepared."""
    for_training = left - sum(preparing[planned.name] for planned in waiting)
    return max(0.0, for_training) * waiting[0].seconds / sum(planned.seconds for planned in waiting)


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
    config = _config_of(planned, overrides)
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


def _config_of(planned: Planned, overrides: Iterable[str]) -> Config:
    own = ([change] for change in planned.overrides)  # which build on one another: later ones go first
    return load_config(planned.preset, merged(*own, overrides))


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


def _emoji(arrays: Arrays, config: Config, device: torch.device) -> DeviceData:
    resolution = config.data.resolution
    rgba, labels = _on(device, arrays["emoji/rgba"]), _on(device, arrays["emoji/labels"]).long()
    while rgba.shape[-1] > 2 * resolution:
        rgba = halved(rgba)
    name = f"emoji{resolution if resolution != 64 else ''}/held_out"
    held_out = DrawnImages(_on(device, arrays[name]), _on(device, arrays[f"{name}_labels"]).long())
    families = _on(device, arrays["emoji/families"]).long()
    source = Drawings(rgba, resolution, labels, families=families)
    return DeviceData(source, held_out, int(labels.max()) + 1)


def _fashion(arrays: Arrays, config: Config, device: torch.device) -> DeviceData:
    def padded(name: str) -> Tensor:
        return torch.nn.functional.pad(_on(device, arrays[name]), (2, 2, 2, 2)).unsqueeze(1)  # (M, 1, 32, 32)

    labels = _on(device, arrays["fashion/train_labels"]).long()
    of_held_out = _on(device, arrays["fashion/held_out_labels"]).long()
    held_out = DrawnImages(padded("fashion/held_out"), of_held_out)
    return DeviceData(StoredImages(padded("fashion/train"), labels, mirror=True), held_out, 10)


def _simple(arrays: Arrays, config: Config, device: torch.device) -> DeviceData:
    labels = _on(device, arrays["simple/train_labels"]).long()
    of_held_out = _on(device, arrays["simple/held_out_labels"]).long()
    source = StoredImages(_on(device, arrays["simple/train"]), labels)
    held_out = DrawnImages(_on(device, arrays["simple/held_out"]), of_held_out)
    return DeviceData(source, held_out, len(SHAPE_NAMES))


def _simple_captions(arrays: Arrays, config: Config, device: torch.device) -> DeviceData:
    plain = _simple(arrays, config, device)
    captions = captions_of(arrays["simple/train_captions"])
    settings = config.transformer
    tokenizer = train_caption_tokenizer(captions, settings.vocabulary_size, settings.caption_length)
    tokens = tokenizer.encode(captions).to(device)
    of_held_out = tokenizer.encode(captions_of(arrays["simple/held_out_captions"])).to(device)
    source = StoredImages(_on(device, arrays["simple/train"]), tokens)
    return DeviceData(source, plain.held_out._replace(conditions=of_held_out), 0, tokenizer)


PHOTO_WINDOWS = 100_000
MIXED = {"emoji": 0.4, "photos": 0.5, "simple": 0.1}


def _anything(arrays: Arrays, config: Config, device: torch.device) -> DeviceData:
    names = sorted({name for name in arrays if name.startswith("photos/") and "held_out" not in name})
    photographs = [_on(device, arrays[name]) for name in names]
    windows = photo_windows(photographs, config.data.resolution, PHOTO_WINDOWS)
    sources = [
        StoredImages(windows, mirror=True, hues=True),
        _emoji(arrays, config, device).source,
        StoredImages(_on(device, arrays["simple64/train"]), hues=True),
    ]
    held_out = DrawnImages(_on(device, arrays["photos/held_out"]), None)
    return DeviceData(Mixture(sources, [MIXED["photos"], MIXED["emoji"], MIXED["simple"]]), held_out)


DATA: dict[str, Callable[[Arrays, Config, torch.device], DeviceData]] = {
    "emoji": _emoji,
    "fashion": _fashion,
    "simple": _simple,
    "simple_captions": _simple_captions,
    "anything": _anything,
}


def bundle(folder: Path, bundles: Path, group: str) -> Path:
    """The runs of `group` in `folder` as `bundles`/GROUP.tar, with weights in half precision."""
    with whole_file(bundles / f"{group}.tar") as temporary, tarfile.open(temporary, "w") as archive:
        for name in (planned.name for planned in PLAN if planned.group == group):
            for file in ("config.yaml", "curves.csv", CAPTIONS):
                if (folder / name / file).exists():
                    archive.add(folder / name / file, arcname=f"{name}/{file}")
            weights = folder / name / WEIGHTS
            if weights.exists():
                _add_bytes(archive, f"{name}/{weights.name}", save(_halved(load_file(weights))))
    return bundles / f"{group}.tar"


def _halved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.half() if value.is_floating_point() else value for name, value in tensors.items()}


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = len(content), int(time.time())
    archive.addfile(entry, io.BytesIO(content))


def _on(device: torch.device, array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device)
