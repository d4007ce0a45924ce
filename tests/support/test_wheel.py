"""What others get: a wheel and an sdist, built from what the repository keeps, tried in an empty folder."""

from __future__ import annotations

import email
import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from grid_files import tiny_base

from mvqlab.support.lab import lab_files

ROOT = Path(__file__).parents[2]
BUILD = "from setuptools import build_meta; build_meta.build_{}({!r})"
JUNK = [
    "results/mine/point.json",
    "notebooks/.ipynb_checkpoints/00-checkpoint.ipynb",
    "ablations/.mvqlab-1.yaml",
    "notebooks/book/__pycache__/conf.cpython-311.pyc",
]

pytestmark = pytest.mark.slow


def kept() -> list[str]:
    """The files of the repository, new ones too; without git those that a wheel is made of."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        package = (path for path in (ROOT / "mvqlab").rglob("*") if "__pycache__" not in path.parts)
        names = [path.relative_to(ROOT).as_posix() for path in package if path.is_file()]
        names += ["README.md", "LICENSE", "pyproject.toml", "setup.py"]
        return sorted([*names, *(path.as_posix() for path in lab_files(ROOT))])
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted(name for name in listed.split("\0") if name and (ROOT / name).is_file())


def build(what: str, source: Path, out: Path) -> Path:
    command = [sys.executable, "-c", BUILD.format(what, str(out))]
    subprocess.run(command, cwd=source, capture_output=True, text=True, check=True)
    [built] = out.glob("*.tar.gz" if what == "sdist" else "*.whl")
    return built


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository as it is kept, and beside that what work leaves behind."""
    folder = tmp_path_factory.mktemp("source")
    for name in kept():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    for name in JUNK:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", source, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


def contents(wheel: Path) -> dict[str, int]:
    with zipfile.ZipFile(wheel) as archive:
        return {one.filename: one.CRC for one in archive.infolist()}


def test_a_wheel_made_from_the_sdist_is_the_same(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    [unpacked] = (tmp_path / "unpacked").iterdir()
    assert contents(build("wheel", unpacked, tmp_path / "again")) == contents(wheel)


def test_the_wheel_carries_the_package_and_what_the_repository_keeps_of_the_lab(wheel: Path) -> None:
    held = {name for name in contents(wheel) if not re.match(r"mvqlab-[\d.]+\.dist-info/", name)}
    lab = [name for name in kept() if name.split("/")[0] in ("notebooks", "ablations", "results")]
    package = [name for name in kept() if name.startswith("mvqlab/")]
    assert held == {*package, *(f"mvqlab/lab/{name}" for name in lab)}
    assert [path.as_posix() for path in lab_files()] == sorted(lab)


def test_what_an_index_shows_leads_to_the_repository(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
    urls = dict(line.split(", ") for line in metadata.get_all("Project-URL"))
    assert all(url.startswith(urls["Repository"]) for url in urls.values())
    description = metadata.get_payload(decode=True).decode()
    links = re.findall(r"\]\(([^)\s]+)\)", description)
    assert links and [link for link in links if not link.startswith("https://")] == []
    ours = [link.removeprefix(urls["Repository"]) for link in links if link.startswith(urls["Repository"])]
    paths = [re.sub(r"^/(raw|blob)/main/", "", link) for link in ours]
    assert len(paths) > 5 and [path for path in paths if not (ROOT / path).exists()] == []


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own with the wheel, which sees this one's packages but not this checkout."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel]
    subprocess.run(install, capture_output=True, check=True)
    [packages] = environment.rglob("site-packages")
    (packages / "others.pth").write_text("\n".join(site.getsitepackages()))
    return python


def run(python: Path, code: str, folder: Path) -> str:
    """What `code` prints in the empty `folder`."""
    folder.mkdir()
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    clean["MVQLAB_CACHE"] = str(folder.with_name("cache"))
    ran = subprocess.run([python, "-c", code], cwd=folder, env=clean, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert str(ROOT) not in ran.stdout
    return ran.stdout


def test_the_wheel_does_its_work_from_an_empty_folder(python: Path, tmp_path: Path) -> None:
    """Its grids run by their names, their results beside whoever runs them: here one that is quick."""
    folder = tmp_path / "empty"
    [lab] = python.parents[1].rglob("mvqlab/lab")
    notebook = {"purpose": "try", "notebook": "../notebooks/ablation_point.ipynb"}
    tiny = lab / "ablations" / "tiny.yaml"
    tiny.write_text(yaml.safe_dump({**notebook, "base": tiny_base(), "seeds": [0]}))
    commands = [
        ["doctor"],
        ["course", "init", "course"],
        ["grid", "plan", "quickstart"],
        ["grid", "run", "tiny"],
        ["grid", "table", "tiny"],
        ["verdicts"],
        ["results", "make", "order"],
        ["sample", "-n", "1"],
    ]
    code = f"""
from mvqlab.cli.main import main
for words in {commands}:
    code = main(words)
    assert code == 0, (words, code)
"""
    try:
        printed = run(python, code, folder)
    finally:
        tiny.unlink()
    assert "mvqlab runs here" in printed
    assert (folder / "course" / "notebooks" / "00_start_here.ipynb").is_file()
    assert not list((folder / "course").rglob("solutions")), "those are for lecturers"
    assert f"notebook {lab / 'notebooks' / 'ablation_point.ipynb'}" in printed
    assert f"results  {folder / 'results' / 'quickstart'}" in printed
    assert (folder / "results" / "tiny" / "table.csv").is_file()
    assert (folder / "results" / "reference" / "order_summary.png").is_file()
    assert list((folder / "results" / "samples").glob("*.png"))
    assert {path.name for path in lab.iterdir()} == {"notebooks", "ablations", "results"}
    there = {path.relative_to(lab) for path in lab.rglob("*.*") if path.is_file() and path.suffix != ".pyc"}
    assert there == set(lab_files())


def test_lessons_run_alone_on_the_wheel(python: Path, tmp_path: Path) -> None:
    """The first one whole, of the others the first cells: test_notebooks.py runs all of each."""
    code = """
import nbformat, papermill
from mvqlab.grid.execute import ThisPython
from mvqlab.support.lab import LAB

first, *others = sorted((LAB / "notebooks").glob("[0-9]*.ipynb"))
for lesson in others:
    names = {}
    cells = [cell.source for cell in nbformat.read(lesson, as_version=4).cells if cell.cell_type == "code"]
    for source in cells[:3]:
        exec(source, names)
    print(lesson.stem, names["scale"])
notebook = nbformat.read(first, as_version=4)
ours = {"kernel_name": "python3", "kernel_manager_class": ThisPython, "progress_bar": False}
papermill.execute_notebook(notebook, None, parameters={"output": "out"}, **ours)
"""
    printed = run(python, code, tmp_path / "empty")
    others = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))[1:]
    assert printed.splitlines() == [f"{lesson.stem} quick" for lesson in others]
    assert (tmp_path / "empty" / "out" / "result.json").is_file()
