"""Lessons that open anywhere: links that open one, and a cell that installs mvqlab where it is missing.

All of them name the repository by the address in pyproject.toml (``[project.urls]``). After a change of that,
in the repository::

    python -m mvqlab.course.badges

writes them anew into the lessons, the README and the page for lecturers. The links are words: a picture of a
badge would be fetched from others' hosts by everyone who opens a lesson.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from urllib.parse import quote, urlencode

from mvqlab.support.files import write_text_whole
from mvqlab.support.lab import LAB

BRANCH = "main"
INSTALL = "install"  # tag of the cell that installs mvqlab
CELL = """\
import subprocess
import sys
from importlib import metadata, util

if util.find_spec("mvqlab") is None:  # as on Colab; torch stays the one that is there
    there = [f"{name}=={metadata.version(name)}" for name in ("torch", "torchvision") if util.find_spec(name)]
    lab = "mvqlab @ git+REPOSITORY"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", lab, *there], check=True)"""
BADGES = re.compile(r"^\[Open in Colab\]\(.*$", re.MULTILINE)
PULLER = re.compile(r"https://HUB/hub/user-redirect/git-pull\?\S*")
FIRST = "notebooks/00_start_here.ipynb"


class BadgeError(ValueError):
    """The repository's address is not one that links can be made of."""


def main(root: Path = LAB) -> None:
    """Write links and cells into the repository at `root`. Raises BadgeError; OSError where it is none."""
    address = repository(root)
    for lesson in sorted((root / "notebooks").glob("[0-9]*.ipynb")):
        notebook = json.loads(lesson.read_text(encoding="utf-8"))
        mark(notebook, f"notebooks/{lesson.name}", address)
        write_text_whole(lesson, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    for page, pattern, words in (
        ("README.md", BADGES, f"{badges(FIRST, address)} · {codespace(address)}"),
        ("notebooks/LECTURER.md", PULLER, puller(FIRST, address)),
    ):
        text = (root / page).read_text(encoding="utf-8")
        write_text_whole(root / page, pattern.sub(words, text))


def repository(root: Path = LAB) -> str:
    """The address of the repository, as pyproject.toml has it. Raises BadgeError unless it is on GitHub."""
    content = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    address = content["project"]["urls"]["Repository"]
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", address):
        raise BadgeError(
            f"pyproject.toml, [project.urls]: Repository is {address}, not https://github.com/OWNER/NAME"
        )
    return address


def mark(notebook: dict, path: str, address: str) -> None:
    """Put links under the title of the lesson `notebook`, and before its imports a cell that installs mvqlab.

    path: of the lesson, in the repository.
    """
    title, _, rest = "".join(notebook["cells"][0]["source"]).partition("\n")
    rest = BADGES.sub("", rest).lstrip("\n")
    notebook["cells"][0]["source"] = f"{title}\n\n{badges(path, address)}\n\n{rest}".splitlines(True)
    cells = [cell for cell in notebook["cells"] if INSTALL not in cell["metadata"].get("tags", [])]
    first = next(place for place, cell in enumerate(cells) if cell["cell_type"] == "code")
    install = {
        "cell_type": "code",
        "execution_count": None,
        "id": "",
        "metadata": {"tags": [INSTALL]},
        "outputs": [],
        "source": CELL.replace("REPOSITORY", address).splitlines(True),
    }
    notebook["cells"] = [*cells[:first], install, *cells[first:]]
    for place, cell in enumerate(notebook["cells"]):
        cell["id"] = str(place)  # as notebooks are stored


def badges(path: str, address: str) -> str:
    """Links that open the notebook at `path` of the repository on Colab and on Binder, in Markdown."""
    name = address.removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{name}/blob/{BRANCH}/{path}"
    binder = f"https://mybinder.org/v2/gh/{name}/{BRANCH}?{urlencode({'urlpath': f'lab/tree/{path}'})}"
    return f"[Open in Colab]({colab}) · [Open in Binder]({binder})"


def codespace(address: str) -> str:
    """The link that opens the repository in a Codespace, in Markdown."""
    return f"[Open in Codespaces](https://codespaces.new/{address.removeprefix('https://github.com/')})"


def puller(path: str, address: str) -> str:
    """The link by which a hub with nbgitpuller gets the repository and opens the notebook at `path`."""
    name = quote(address.rpartition("/")[2])
    asked = {"repo": address, "branch": BRANCH, "urlpath": f"lab/tree/{name}/{path}"}
    return f"https://HUB/hub/user-redirect/git-pull?{urlencode(asked)}"


if __name__ == "__main__":
    main()
