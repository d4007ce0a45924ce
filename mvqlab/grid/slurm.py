"""The points of a grid as one SLURM array, through submitit: each job runs `mvqlab grid run-one`.

    mvqlab grid run ablations/mask_ratio.yaml --slurm --partition gpu --gpus 1

Nothing stays behind on the machine that submits: points write their own status, `mvqlab grid status` reads
it from any shell that sees the results, and the next `--slurm` submits what is not done.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, TextIO

from pydantic import ValidationError

from mvqlab.config.own_arms import ARMS_VARIABLE
from mvqlab.grid.elsewhere import not_done_in
from mvqlab.grid.points import Point, build_points, choose, folders_of
from mvqlab.grid.process import Slot, point_environment
from mvqlab.grid.shared import discard_stage1, first_of_each_stage1
from mvqlab.grid.spec import Grid, GridError, Slurm, read_grid
from mvqlab.grid.status import state_of

if TYPE_CHECKING:
    from submitit import SlurmExecutor

JOBS = ".slurm"  # folder under the results that receives SLURM's scripts and logs
SECONDS_TO_STOP = 60  # between the warning that the time is up and the end


def submit_grid(
    path: str | Path,
    *,
    only: Sequence[int] = (),
    fresh: bool = False,
    retry_failed: bool = False,
    done_in: Sequence[Path] = (),
    resources: dict[str, object] | None = None,
    stream: TextIO | None = None,
) -> str:
    """Submit the points that are not done as an array and return its job id; empty if there are none.

    More points than SLURM takes in one array go into several, one after the other; their ids are joined by
    spaces.

    `only`, `fresh`, `retry_failed`, `done_in`: as in `run_grid`. `resources` go before what the grid file
    says under `slurm`. Raises GridError before anything is submitted.
    """
    grid = read_grid(path)
    everyone = build_points(grid)
    out = stream or sys.stdout
    asked = not_done_in(done_in, choose(everyone, only), partial(print, file=out))
    points = _to_run(grid, asked, fresh, retry_failed or bool(only))
    slurm = _resources(grid, resources or {})
    _require_slurm()
    if not points:
        print("nothing to submit: no point is left", file=out)
        return ""
    if fresh:
        discard_stage1(points, everyone, grid, partial(print, file=out))
    executor = _executor(grid, slurm)
    arrays: list[str] = []
    for part in _parts(list(first_of_each_stage1(points)), largest_array()):
        if arrays:  # one array after the other, so that `parallel` holds for all of them
            executor.update_parameters(dependency=f"afterany:{arrays[-1]}")
        arrays.append(_submit(executor, grid, part, slurm.cpus, fresh))
    print(
        f"{len(points)} points submitted as array {', '.join(arrays)}, {slurm.parallel} at a time at most\n"
        f"how far they are: mvqlab grid status {grid.path}\n"
        f"to stop them:     scancel {' '.join(arrays)}\n"
        f"logs:             {grid.results / JOBS}",
        file=out,
    )
    return " ".join(arrays)


def _submit(executor: SlurmExecutor, grid: Grid, points: Sequence[Point], cpus: int, fresh: bool) -> str:
    n = len(points)
    indices, identities = [point.index for point in points], [point.id for point in points]
    arms = os.environ.get(ARMS_VARIABLE, "")  # not every cluster hands the environment on
    jobs = executor.map_array(
        run_one, [str(grid.path)] * n, indices, identities, [cpus] * n, [fresh] * n, [arms] * n
    )
    return jobs[0].job_id.partition("_")[0]


def _parts(points: Sequence[Point], size: int) -> list[Sequence[Point]]:
    return [points[first : first + size] for first in range(0, len(points), size)]


def largest_array() -> int:
    """Jobs that SLURM takes in one array: its setting `MaxArraySize`, or 1001 where it does not tell."""
    ask = ["scontrol", "show", "config"]
    try:
        told = subprocess.run(ask, capture_output=True, text=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        told = ""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", told, re.MULTILINE)
    return int(found[1]) if found else 1001


def run_one(grid_file: str, index: int, identity: str, cpus: int, fresh: bool, arms: str = "") -> int:
    """What a job of the array does; how the point ended, it writes itself. Returns its exit code.

    arms: the files of arms of one's own, as MVQLAB_ARMS names them where the job was submitted.
    """
    command = [sys.executable, "-m", "mvqlab", "grid", "run-one", grid_file]
    command += ["--index", str(index), "--expect", identity, *(["--fresh"] if fresh else [])]
    environment = point_environment(Slot(cpus)) | ({ARMS_VARIABLE: arms} if arms else {})
    process = subprocess.Popen(command, env=environment)
    # The warning that time is nearly up reaches the point by itself; submitit's answer to it would kill the
    # point before it could say so.
    signal.signal(signal.SIGUSR2, lambda number, frame: None)
    return process.wait()


def _resources(grid: Grid, given: dict[str, object]) -> Slurm:
    try:
        return Slurm.model_validate({**grid.content.slurm.model_dump(), **given})
    except ValidationError as error:
        faults = [f"--{fault['loc'][0]}: {fault['msg']} (got {fault['input']!r})" for fault in error.errors()]
        raise GridError("\n".join(faults).replace("_", "-")) from None


def _to_run(grid: Grid, points: Sequence[Point], fresh: bool, again: bool) -> list[Point]:
    left_alone = {"running"} | (set() if fresh else {"done"}) | (set() if again or fresh else {"failed"})
    folders = folders_of(points, grid.results)
    return [
        point for point, folder in zip(points, folders, strict=True) if state_of(folder) not in left_alone
    ]


def _require_slurm() -> None:
    if find_spec("submitit") is None:
        raise GridError("--slurm needs submitit: pip install 'mvqlab[slurm]'")
    if which("sbatch") is None:
        raise GridError("--slurm needs SLURM's `sbatch`, which is not here: submit from a login node")


def _executor(grid: Grid, slurm: Slurm) -> SlurmExecutor:
    import submitit

    executor = submitit.SlurmExecutor(folder=grid.results / JOBS)
    asked = {
        "job_name": f"mvqlab-{grid.path.stem}",
        "time": slurm.minutes,
        "cpus_per_task": slurm.cpus,
        "array_parallelism": slurm.parallel,
        "signal_delay_s": SECONDS_TO_STOP,
    }
    if slurm.partition is not None:
        asked["partition"] = slurm.partition
    if slurm.memory_gb is not None:
        asked["mem"] = f"{round(slurm.memory_gb * 1024)}M"
    if slurm.gpus:
        asked["gpus_per_node"] = slurm.gpus
    executor.update_parameters(**asked)
    return executor
