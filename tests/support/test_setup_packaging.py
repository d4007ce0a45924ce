"""pyproject.toml, environment.yml, constraints.txt, the Makefile and the code tell one story."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import mvqlab
from mvqlab.cli import doctor
from mvqlab.cli.main import build_parser

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
EXTRAS = PROJECT["optional-dependencies"]
PINS = [
    line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")
]

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def requirements_of(*groups: list[str]) -> dict[str, Requirement]:
    found = [Requirement(line) for group in groups for line in group]
    return {canonicalize_name(each.name): each for each in found if each.name != "mvqlab"}


RUNTIME = requirements_of(PROJECT["dependencies"])
DIRECT = requirements_of(PROJECT["dependencies"], *EXTRAS.values())
CUDA = ("nvidia-", "cuda-", "triton")  # torch's CUDA builds pin theirs themselves
WITH_TORCH = {"triton"}  # its builds for GPUs bring it along in the version that they need
PINNED = {canonicalize_name(pin.partition("==")[0]): pin.partition("==")[2] for pin in PINS}


def test_every_pin_is_one_exact_version() -> None:
    """A build tag ("+cpu") would shut out every other build; a name twice would hide one of its versions."""
    for pin in PINS:
        assert re.fullmatch(r"[\w.-]+==[\w.]+", pin), pin
    assert len(PINNED) == len(PINS)
    assert not [name for name in PINNED if name.startswith(CUDA)]


@pytest.mark.parametrize("name", DIRECT)
def test_pin_lies_within_the_bounds(name: str) -> None:
    assert name in PINNED, f"{name} is in pyproject.toml but not in constraints.txt"
    assert DIRECT[name].specifier.contains(PINNED[name])


@pytest.mark.parametrize("name", DIRECT)
def test_dependencies_have_a_lower_bound_and_no_cap(name: str) -> None:
    assert [specifier.operator for specifier in DIRECT[name].specifier] == [">="]


@pytest.mark.skipif(
    sys.platform != "linux" or sys.version_info[:2] != (3, 11),
    reason="pins are made on Linux with Python 3.11",
)
def test_pins_are_just_what_the_dependencies_pull_in() -> None:
    """Unpinned, a fresh install changes from one day to the next; pinned for nobody, a line misleads."""
    pulled_in: set[str] = set()
    waiting = list(DIRECT.values())
    seen = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        extras = frozenset({"", *requirement.extras})
        if (name, extras) in seen or name.startswith(CUDA):
            continue
        seen.add((name, extras))
        pulled_in.add(name)
        waiting += [each for each in installed_requirements(name) if applies(each, extras)]
    assert pulled_in - set(PINNED) == set(), "pulled in, but not pinned in constraints.txt"
    assert set(PINNED) - pulled_in == set(), "pinned in constraints.txt, but pulled in by nothing"


def installed_requirements(name: str) -> list[Requirement]:
    try:
        return [Requirement(line) for line in requires(name) or ()]
    except PackageNotFoundError:
        pytest.fail(f"{name} is not installed; install with: pip install -c constraints.txt -e '.[dev]'")


def applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    if requirement.marker is None:
        return True
    return any(requirement.marker.evaluate({"extra": extra}) for extra in extras)


def test_environment_installs_the_pinned_packages() -> None:
    *conda, pip = ENVIRONMENT["dependencies"]
    assert ENVIRONMENT["name"] == "mvqlab"
    assert "pip" in conda
    constraint, editable = pip["pip"]
    assert constraint == "-c constraints.txt"
    assert (ROOT / constraint.removeprefix("-c ")).is_file()
    extra = re.fullmatch(r"-e \.\[(\w+)\]", editable)
    assert extra, editable
    assert extra.group(1) in EXTRAS


@pytest.mark.parametrize("where", [".devcontainer/devcontainer.json", ".binder/postBuild"])
def test_what_others_machines_build_is_pinned_and_for_cpus(where: str) -> None:
    """Of two builds of the pinned torch pip takes the one with a local part, which is the CPU's."""
    text = (ROOT / where).read_text()
    [words] = re.findall(r"pip install ([^\"\n]*)", text)
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in words, "torch for GPUs is 4 GB more"
    assert "-c constraints.txt -e ." in words
    assert os.access(ROOT / ".binder" / "postBuild", os.X_OK), "Binder runs it"
    [python, *_] = ENVIRONMENT["dependencies"]
    assert yaml.safe_load((ROOT / ".binder" / "environment.yml").read_text())["dependencies"] == [
        python,
        "pip",
    ]
    image = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())["image"]
    assert image == python.replace("=", ":")


def test_the_oldest_python_is_the_same_everywhere() -> None:
    oldest = PROJECT["requires-python"].removeprefix(">=")
    major, minor = map(int, oldest.split("."))
    [conda] = [each for each in ENVIRONMENT["dependencies"] if str(each).startswith("python=")]
    assert SpecifierSet(PROJECT["requires-python"]).contains(conda.removeprefix("python="))
    assert PYPROJECT["tool"]["ruff"]["target-version"] == f"py{major}{minor}"
    assert (major, minor) == doctor.OLDEST_PYTHON
    makefile = (ROOT / "Makefile").read_text()
    assert f"sys.version_info < ({major}, {minor})" in makefile
    assert f"needs Python {oldest}" in makefile


def test_clean_removes_the_caches_of_all_tools_and_git_leaves_them_out() -> None:
    (clean,) = [line for line in (ROOT / "Makefile").read_text().splitlines() if ".ruff_cache" in line]
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    for tool in ("pytest", "ruff", "mypy", "import_linter"):
        assert f".{tool}_cache" in clean.split() and f".{tool}_cache/" in ignored


def test_doctor_looks_at_every_dependency() -> None:
    assert set(doctor.NEEDED_PACKAGES) == set(RUNTIME)
    # the smallest extra that brings a package, which stands first
    extras = [extra for extra in reversed(EXTRAS) if extra != "dev"]
    optional = {name: extra for extra in extras for name in requirements_of(EXTRAS[extra])}
    assert optional == doctor.EXTRAS
    assert set(doctor.OPTIONAL_PACKAGES) == set(optional)


def test_what_the_package_imports_is_declared() -> None:
    """An import that only works because something else happens to bring the package breaks one day."""
    providers = packages_distributions()
    declared = set(RUNTIME) | set(
        requirements_of(
            EXTRAS["tensorboard"],
            EXTRAS["wandb"],
            EXTRAS["hub"],
            EXTRAS["inception"],
            EXTRAS["efficientnet"],
            EXTRAS["bench"],
            EXTRAS["slurm"],
            EXTRAS["book"],
            EXTRAS["web"],
            EXTRAS["browser"],
        )
    )
    for path in sorted((ROOT / "mvqlab").rglob("*.py")):
        for module in imported_modules(path) - set(sys.stdlib_module_names) - {"mvqlab", *WITH_TORCH}:
            names = {canonicalize_name(name) for name in providers.get(module, [module])}
            assert names & declared, f"{path.relative_to(ROOT)} imports {module}, which pyproject.toml lacks"


def test_what_only_some_builds_of_torch_bring_is_asked_for_in_one_place() -> None:
    """It cannot be declared: where torch's build has none, none may be installed."""
    importing = {path.name for path in (ROOT / "mvqlab").rglob("*.py") if imported_modules(path) & WITH_TORCH}
    assert importing == {"fused_kernels.py"}


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def test_every_data_file_of_the_package_is_packaged() -> None:
    """A preset or a network that stays behind is missed only by those who install without -e."""
    folder = ROOT / "mvqlab"
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["mvqlab"]
    packaged = {path for pattern in patterns for path in folder.glob(pattern)}
    there = {path for path in folder.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    assert there - packaged == set()


def test_every_folder_of_code_is_a_package() -> None:
    """setuptools leaves out a folder without __init__.py."""
    folders = {path.parent for path in (ROOT / "mvqlab").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, mvqlab, mvqlab.cli.main, mvqlab.cli.doctor, mvqlab.support.files\n"
        "import mvqlab.support.pretrained, mvqlab.support.torchvision_guard\n"
        "print(*{'torch', 'torchvision', 'pandas', 'matplotlib', 'lpips'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_version_is_one_that_pip_can_order() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", mvqlab.__version__)


def test_ci_script_can_be_executed() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@needs_make
def test_make_lists_its_targets() -> None:
    listed = make().stdout
    for target in (
        "demo",
        "test",
        "lint",
        "bench",
        "gpu",
        "gpu-pack",
        "gpu-check",
        "gpu-bench",
        "gpu-train",
        "clean",
    ):
        assert re.search(rf"^  {target} ", listed, flags=re.MULTILINE), listed


@needs_make
@pytest.mark.parametrize(
    "target", ["demo", "bench", "book", "gpu-pack", "gpu-check", "gpu-bench", "gpu-train"]
)
def test_what_a_target_calls_is_a_command_as_it_is_now(target: str, tmp_path: Path) -> None:
    """The commands themselves are run, small, in the tests of their rooms."""
    told = make("-n", target, f"PACK={tmp_path / 'data.pack.zip'}")
    assert told.returncode == 0, told.stderr
    called = re.findall(r"^\S+(?:/| -m )mvqlab (.*)$", told.stdout, flags=re.MULTILINE)
    assert called, told.stdout
    for words in called:
        assert callable(build_parser().parse_args(shlex.split(words)).command), words


@needs_make
def test_a_machine_with_a_gpu_is_asked_for_all_stages_even_if_one_fails(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho $4 $5 >> {tmp_path}/asked\n[ $4 != check ]\n")
    python.chmod(0o755)
    pack = tmp_path / "carried.zip"
    pack.touch()
    ran = make("gpu", f"PYTHON={python}", f"PACK={pack}", "SECONDS=77")
    assert ran.returncode != 0, "the check has failed"
    assert (tmp_path / "asked").read_text().splitlines() == ["check", "bench", "train 77"]
    pack.unlink()
    make("gpu-pack", f"PYTHON={python}", f"PACK={pack}")
    assert (tmp_path / "asked").read_text().splitlines()[-1] == f"pack {pack}"


@needs_make
def test_make_says_when_python_is_too_old(tmp_path: Path) -> None:
    python = tmp_path / "python3.9"
    python.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.18 && exit 0\nexit 1\n')
    python.chmod(0o755)
    ran = make("lint", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}")
    assert ran.returncode != 0
    assert "mvqlab needs Python 3.11 or newer, and" in ran.stdout
    assert "is Python 3.9.18" in ran.stdout
    assert not (tmp_path / "venv").exists()


@needs_make
def test_make_installs_again_only_when_the_dependencies_change(tmp_path: Path) -> None:
    for stamp in (".made", ".installed", ".installed-dev"):
        (tmp_path / stamp).touch()
    assert "pip" not in make("--dry-run", "lint", f"VENV={tmp_path}").stdout
    for changed in ("pyproject.toml", "constraints.txt"):
        for target in ("lint", "demo"):
            planned = make("--dry-run", f"--what-if={changed}", target, f"VENV={tmp_path}").stdout
            assert "-m pip" in planned, f"{target} overlooks a change of {changed}"
            assert "-m venv" not in planned
