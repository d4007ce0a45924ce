"""Lessons open anywhere: their links lead to what is there, and their first cell installs what is missing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib import util
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from mvqlab.course import badges

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
PAGES = ["README.md", "notebooks/LECTURER.md"]
ADDRESS = badges.repository(ROOT)
NAME = ADDRESS.removeprefix("https://github.com/")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What the command writes to."""
    (tmp_path / "notebooks").mkdir()
    for path in [*LESSONS, ROOT / "pyproject.toml", *(ROOT / page for page in PAGES)]:
        shutil.copyfile(path, tmp_path / path.relative_to(ROOT))
    return tmp_path


def test_what_is_kept_is_what_the_command_writes(copy: Path) -> None:
    """So a lesson that was renamed or is new has its own links, and none has the address of another place."""
    badges.main(copy)
    for path in [*LESSONS, *(ROOT / page for page in PAGES)]:
        written = (copy / path.relative_to(ROOT)).read_text(encoding="utf-8")
        assert written == path.read_text(encoding="utf-8"), f"{path.name}: python -m mvqlab.course.badges"


def test_another_address_is_written_wherever_the_old_one_stood(copy: Path) -> None:
    settings = copy / "pyproject.toml"
    settings.write_text(settings.read_text(encoding="utf-8").replace(ADDRESS, "https://github.com/we/ours"))
    badges.main(copy)
    for path in [*(copy / "notebooks").iterdir(), copy / "README.md"]:
        text = path.read_text(encoding="utf-8")
        assert NAME not in text and quote(NAME, safe="") not in text, path.name
        assert "we/ours" in text or "we%2Fours" in text, path.name


def test_an_address_that_links_cannot_be_made_of_is_refused(copy: Path) -> None:
    settings = copy / "pyproject.toml"
    settings.write_text(settings.read_text(encoding="utf-8").replace(ADDRESS, "https://example.org/mvqlab"))
    with pytest.raises(badges.BadgeError, match=r"Repository is https://example\.org/mvqlab"):
        badges.main(copy)


@pytest.mark.parametrize("path", [*LESSONS, ROOT / "README.md"], ids=lambda path: path.stem)
def test_links_lead_to_files_of_the_repository(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    colab = re.findall(rf"https://colab\.research\.google\.com/github/{NAME}/blob/main/([^)]+)\)", text)
    binder = re.findall(rf"(https://mybinder\.org/v2/gh/{NAME}/main\?[^)]+)\)", text)
    [opened] = parse_qs(urlsplit(*binder).query)["urlpath"]
    expected = LESSONS[0] if path.suffix == ".md" else path
    assert [ROOT / one for one in colab] == [ROOT / opened.removeprefix("lab/tree/")] == [expected]
    assert expected.is_file()


def test_the_link_for_hubs_brings_the_repository_and_opens_a_lesson() -> None:
    [link] = re.findall(r"https://HUB/\S+", (ROOT / "notebooks" / "LECTURER.md").read_text(encoding="utf-8"))
    asked = {name: value for name, [value] in parse_qs(urlsplit(link).query).items()}
    folder = ADDRESS.rpartition("/")[2]
    assert asked == {
        "repo": ADDRESS,
        "branch": "main",
        "urlpath": f"lab/tree/{folder}/notebooks/{LESSONS[0].name}",
    }


def install_cell(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code[0]["metadata"] == {"tags": [badges.INSTALL]}, "it comes before the imports"
    return "".join(code[0]["source"])


@pytest.mark.parametrize("there", [True, False])
def test_mvqlab_is_installed_where_it_is_missing_and_torch_is_left_alone(
    there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    found = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: found(name) if there or name != "mvqlab" else None)
    monkeypatch.setattr(subprocess, "run", lambda command, check: asked.append(command))
    exec(install_cell(LESSONS[0]), vars(ModuleType("notebook")))
    wanted = [f"mvqlab @ git+{ADDRESS}", *(f"{name}=={version(name)}" for name in ("torch", "torchvision"))]
    command = [sys.executable, "-m", "pip", "install", "--quiet", *wanted]
    assert asked == ([] if there else [command])
