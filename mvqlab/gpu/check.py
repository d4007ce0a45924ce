"""Does the card compute what the CPU computes? Tests, training steps, replayed sampling, compiled steps."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import tempfile
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch

from mvqlab.config import SamplingConfig, load_config
from mvqlab.evaluation.speed import seconds_per_step
from mvqlab.gpu.parts import Outcome, Report, TimedPart, device_for, run_parts
from mvqlab.gpu.toys import KINDS, exact_float32, stage1_losses, stage2_losses, toy_stage2
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs
from mvqlab.sampling import sample_images, sample_pairs
from mvqlab.sampling.quick_steps import Kernels
from mvqlab.training import train_stage1, train_stage2

ROOT = Path(__file__).parents[2]
STEPS = 20
# Largest relative difference of a loss: at the first step, and after STEPS of them. One code that falls the
# other way at a tie moves what comes after it, so that the latter tells of faults, not of rounding.
TOLERANCE = {"fp32": (1e-3, 0.2), "bf16": (0.03, 0.3)}
LOSSES = {"stage 1": stage1_losses, "stage 2": stage2_losses}


def check(folder: Path, device: str | None = None, seconds: float = 170.0, toy: bool = False) -> int:
    """Run all checks on `device` within `seconds`; returns 1 if one failed, else 0. Raises NoGpuError."""
    on = device_for(device)
    report = Report(folder, "check", on)
    parts = [
        TimedPart("cuda_graph", 45.0, partial(replayed_sampling, device=on, toy=toy)),
        TimedPart("training steps", 45.0, partial(training_steps, device=on, toy=toy)),
        TimedPart("training loops", 45.0, partial(training_loops, device=on, toy=toy)),
        TimedPart("pytest -m gpu", 75.0, run_tests),
        TimedPart("torch.compile", 80.0, partial(compiled_steps, device=on, toy=toy)),
        TimedPart("two ranks", 60.0, partial(two_ranks, device=on)),
    ]
    run_parts(report, parts, seconds)
    return report.finish()


def run_tests(report: Report) -> None:
    """`pytest -m gpu` in a process of its own, its last line as the note."""
    path = ROOT / "tests" / "gpu" / "test_gpu.py"
    if find_spec("pytest") is None or not path.exists():
        report.add("pytest -m gpu", "skipped", note="no pytest, or no tests beside the package")
        return
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-W", "default", "-p", "no:cacheprovider"]
    if find_spec("hypothesis") is None:
        command.append("--noconftest")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    ran = subprocess.run(
        [*command, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=70,
        check=False,
        env=environment,
    )
    said = ran.stdout.strip().splitlines()
    last = said[-1].strip("= ") if said else ran.stderr.strip()[-200:]
    failed = [line.split(" - ")[0] for line in said if line.startswith("FAILED")]
    n_passed = re.search(r"(\d+) passed", last)
    report.add(
        "pytest -m gpu",
        "failed" if ran.returncode else "ok" if n_passed else "skipped",
        int(n_passed[1]) if n_passed else 0,
        "tests passed",
        note="; ".join([last, *failed[:6]]),
        trace=(ran.stdout[-6000:] + ran.stderr[-3000:]) if ran.returncode else "",
    )


def training_steps(report: Report, device: torch.device, toy: bool) -> None:
    """Losses on the device against the CPU's in float32, and of bfloat16 against float32."""
    steps = 3 if toy else STEPS
    for stage, losses in LOSSES.items():
        try:
            with exact_float32():
                on_cpu, here = losses(torch.device("cpu"), "fp32", steps), losses(device, "fp32", steps)
                mixed = losses(device, "bf16", steps)
            _compare(report, f"{stage}: {device.type} against CPU, fp32", "fp32", here, on_cpu)
            _compare(report, f"{stage}: bf16-mixed against fp32", "bf16", mixed, here)
        except Exception as error:
            report.failed(f"{stage}: training steps", error)


def _compare(report: Report, name: str, precision: str, here: list[float], there: list[float]) -> None:
    differences = [abs(a - b) / max(abs(b), 1e-6) for a, b in zip(here, there, strict=True)]
    first, last = TOLERANCE[precision]
    # NaN is not close to anything, and `max` passes over it
    is_close = differences[0] <= first and all(difference <= last for difference in differences)
    worst = math.nan if any(map(math.isnan, differences)) else max(differences)
    shown = ", ".join(f"{here[n]:.5f}/{there[n]:.5f}" for n in (0, len(here) // 2, len(here) - 1))
    note = f"first step off by {differences[0]:.1e}; losses {shown}; tolerances {first:g}, {last:g}"
    report.add(name, "ok" if is_close else "failed", worst, "largest relative difference", note=note)


def training_loops(report: Report, device: torch.device, toy: bool) -> None:
    """`train_stage1`, `train_stage2` and drawing as a user runs them, some steps each, in both precisions."""
    steps = 2 if toy else STEPS  # the device is Fabric's choice: the best there is
    for precision in ("32-true", "bf16-mixed"):
        name = f"training loops, {precision}"
        began = time.perf_counter()
        try:
            config = load_config("shapes32", _short(steps, precision))
            with tempfile.TemporaryDirectory() as folder:
                stage1 = train_stage1(config, Path(folder) / "stage1")
                stage2 = train_stage2(config, stage1, Path(folder) / "stage2")
                drawn = sample_images(stage2, stage1, config)
            at = next(stage2.parameters()).device
            is_fine = bool(torch.isfinite(drawn.images).all())
            note = f"trained on {at}, {len(drawn.images)} images drawn"
            took = time.perf_counter() - began
            report.add(name, "ok" if is_fine else "failed", took, "s", seconds=took, note=note)
        except Exception as error:
            report.failed(name, error)


def _short(steps: int, precision: str) -> dict[str, object]:
    sizes = {"data.train_size": 128, "data.validation_size": 16, "quantizer.start_step": 1}
    evaluation = {"evaluation.images": 16, "evaluation.samples": 4}
    stages: dict[str, object] = {}
    for stage in ("stage1", "stage2"):
        stages |= {f"{stage}.steps": steps, f"{stage}.precision": precision, f"{stage}.checkpoint_every": 0}
    return sizes | evaluation | stages


def replayed_sampling(report: Report, device: torch.device, toy: bool) -> None:
    """Samples of a replayed step against those of a plain one: the likeliest pairs, then drawn ones."""
    for kind in KINDS:
        try:
            model = toy_stage2(kind, 64 if toy else 128, 1 if toy else 3).to(device)
            conditions = torch.arange(4) % 5 if kind == "classes" else None
            guidance = 2.0 if kind == "classes" else 1.0
            plain = _drawn(model, False, 0.0, guidance, conditions)
            if guidance == 1.0:  # with it there are more rows than the kernels are for
                fused = _drawn(model, True, 0.0, guidance, conditions, "fused")
                outcome: Outcome = "ok" if _are_equal(plain, fused) else "failed"
                report.add(f"fused kernels, {kind}", outcome, agreement(plain, fused), "of pairs equal")
            for temperature in (0.0, 1.0):
                plain, replayed = (
                    _drawn(model, graph, temperature, guidance, conditions) for graph in (False, True)
                )
                name = f"cuda_graph, {kind}, temperature {temperature:g}"
                report.add(
                    name,
                    "ok" if _are_equal(plain, replayed) else "failed",
                    agreement(plain, replayed),
                    "of pairs equal",
                )
            seconds = [
                seconds_per_step(
                    partial(_drawn, model, graph, 1.0, guidance, conditions), device=device, repeats=3
                )
                for graph in (False, True)
            ]
            note = f"{1e3 * seconds[0]:.1f} ms, replayed {1e3 * seconds[1]:.1f} ms, its capture included"
            report.add(f"cuda_graph, {kind}: speed", "ok", seconds[0] / seconds[1], "times faster", note=note)
        except Exception as error:
            report.failed(f"cuda_graph, {kind}", error)


def _drawn(
    model: PairModel,
    graph: bool,
    temperature: float,
    guidance: float,
    conditions: torch.Tensor | None,
    kernels: Kernels = "plain",
) -> Pairs:
    settings = SamplingConfig(
        cuda_graph=graph,
        kernels=kernels,
        temperature=temperature,
        code_guidance=guidance,
        position_guidance=guidance,
    )
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(0)
    with exact_float32():
        return sample_pairs(model, 4, settings, generator=generator, conditions=conditions)


def _are_equal(one: Pairs, other: Pairs) -> bool:
    return torch.equal(one.codes, other.codes) and torch.equal(one.positions, other.positions)


def agreement(one: Pairs, other: Pairs) -> float:
    """Share of pairs that are the same in both; 0 where they have not as many."""
    if one.codes.shape != other.codes.shape:
        return 0.0
    return float(((one.codes == other.codes) & (one.positions == other.positions)).double().mean())


def compiled_steps(report: Report, device: torch.device, toy: bool) -> None:
    """Sampling with compiled blocks; three training steps under torch.compile against three without it."""
    backend = "aot_eager" if toy else "inductor"
    try:
        model = toy_stage2("code_first", 128, 2).to(device)
        plain, compiled = (_drawn(model, True, 0.0, 1.0, None, way) for way in ("plain", "compiled"))
        outcome: Outcome = "ok" if _are_equal(plain, compiled) else "failed"
        report.add("compiled blocks, code_first", outcome, agreement(plain, compiled), "of pairs equal")
    except Exception as error:
        report.failed("compiled blocks, code_first", error)
    for stage, losses in reversed(LOSSES.items()):
        name = f"{stage}: compiled ({backend}) against eager"
        try:
            with exact_float32():
                eager = losses(device, "fp32", 3)
                traced = losses(device, "fp32", 3, backend)
            _compare(report, name, "fp32", traced, eager)
        except Exception as error:
            report.failed(name, error)


def two_ranks(report: Report, device: torch.device) -> None:
    """Stage 1 and 2, a few steps on two cards; skipped where there is one or none."""
    n_devices = torch.cuda.device_count() if device.type == "cuda" else 0
    if n_devices < 2:
        report.add("two ranks", "skipped", note=f"needs two GPUs, there are {n_devices}")
        return
    with tempfile.TemporaryDirectory() as folder:
        for stage in (1, 2):
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
            command += ["-m", "mvqlab", "train", "--preset", "shapes32", "--stage", str(stage)]
            command += ["--out", f"{folder}/stage{stage}"]
            command += ["--stage1", f"{folder}/stage1"] if stage == 2 else []
            command += [f"{key}={value}" for key, value in _short(4, "bf16-mixed").items()]
            ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
            outcome: Outcome = "failed" if ran.returncode else "ok"
            report.add(
                f"two ranks, NCCL, stage {stage}", outcome, trace=ran.stderr[-4000:] if ran.returncode else ""
            )
