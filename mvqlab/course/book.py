"""The course as a static site: run the notebooks, then let Sphinx render what they show (`make book`)."""

from __future__ import annotations

import hashlib
import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import nbformat
import papermill
from nbformat import NotebookNode

from mvqlab.grid.execute import ThisPython
from mvqlab.interop.onnx_export import ExportError
from mvqlab.play.build import build_page
from mvqlab.play.vendored import VendorError
from mvqlab.results.reference import FOLDER
from mvqlab.support.files import CacheError, check_nothing_in_the_way, whole_file, write_text_whole
from mvqlab.support.progress import QUIET_VARIABLE, Progress

NO_PLAY = """# Play

This book was made without the page on which the models run in your browser: {} `mvqlab play build` makes it.
"""
PICTURE = "mask_ratio_moving.webp"  # of the kept ones, on the first page
NEEDED = ("sphinx", "myst_nb", "furo", "sphinx-mathjax-offline")  # with what the book's conf.py loads
MARK = ".made_by_mvqlab"  # in the sources of a book, which the next one may write over


class BookError(RuntimeError):
    """The book cannot be built: a notebook fails, or what renders it is not installed."""


def build_book(notebooks: Path, out: Path, scale: str = "quick", has_play: bool = True) -> Path:
    """Run the lessons in `notebooks` at `scale` and render them below `out`; returns the first page.

    Notebooks without a number are rendered as they are.
    A lesson that has not changed since it was last run for this book is not run again. Executed notebooks
    stay in ``out/source``, the site is ``out/html``. In ``out/html/play`` lies the page of `mvqlab.play`,
    unless it is left out (`has_play`) or cannot be built here: then the book says so where links would be.
    Behind a web server the search shows excerpts; in files opened by hand browsers let it read no pages.

    Raises BookError; InTheWayError where something else than a book is in these two.
    """
    _require_sphinx()
    lessons = sorted(notebooks.glob("[0-9]*.ipynb"))
    if not lessons:
        raise BookError(f"{notebooks} holds no lessons: they are called 00_..., 01_... and so on")
    source, html = out / "source", out / "html"
    if not (source / MARK).exists():
        for folder in (source, html):
            check_nothing_in_the_way(folder, "it holds no book of mvqlab; name another folder with --out")
    source.mkdir(parents=True, exist_ok=True)
    (source / MARK).touch()
    shutil.copytree(notebooks / "book", source, dirs_exist_ok=True)
    shutil.copy(notebooks / "LECTURER.md", source)
    _put_picture(source)
    for notebook in set(notebooks.glob("*.ipynb")) - set(lessons):
        shutil.copy(notebook, source)
    with Progress("running the lessons", len(lessons)) as progress:
        for lesson in lessons:
            run_lesson(lesson, source / lesson.name, scale)
            progress.advance()
    missing = _why_no_play(html / "play") if has_play else "it was left out."
    if missing:
        write_text_whole(source / "play.md", NO_PLAY.format(missing))
    _render(source, html)
    return html / "index.html"


def _put_picture(source: Path) -> None:
    """What the first page begins with; where no pictures are kept, as in a wheel, it begins with words."""
    if (FOLDER / PICTURE).exists():
        shutil.copy(FOLDER / PICTURE, source)
    else:
        page = source / "index.md"
        lines = page.read_text(encoding="utf-8").splitlines(keepends=True)
        write_text_whole(page, "".join(line for line in lines if PICTURE not in line))


def _why_no_play(folder: Path) -> str:
    """Build the page with the instruments into `folder`; in words why that cannot be done, empty if it is."""
    try:
        build_page(folder, fresh=True)
    except (ExportError, VendorError, CacheError) as error:
        return f"{error}."
    return ""


def run_lesson(lesson: Path, executed: Path, scale: str) -> None:
    """Run `lesson` at `scale` into `executed`, unless that holds it already. Raises BookError if it fails."""
    identity = hashlib.sha256(f"{scale}\n{lesson.read_text(encoding='utf-8')}".encode()).hexdigest()
    if executed.exists() and _identity(executed) == identity:
        return
    before = os.environ.get(QUIET_VARIABLE)
    os.environ[QUIET_VARIABLE] = "1"
    try:
        notebook = papermill.execute_notebook(
            nbformat.read(lesson, as_version=4),
            None,
            parameters={"scale": scale},
            kernel_name="python3",
            language="python",
            kernel_manager_class=ThisPython,
            cwd=lesson.parent,
            progress_bar=False,
        )
    except papermill.PapermillExecutionError as error:
        raise BookError(f"{lesson.name} failed: {error.ename}: {error.evalue}") from None
    finally:
        if before is None:
            del os.environ[QUIET_VARIABLE]
        else:
            os.environ[QUIET_VARIABLE] = before
    _tidy(notebook)
    notebook.metadata["mvqlab"] = {"identity": identity}
    with whole_file(executed) as path:
        nbformat.write(notebook, path)


def _tidy(notebook: NotebookNode) -> None:
    """Leave out what papermill adds for itself, and warnings about the machine that the book was made on."""
    notebook.cells = [c for c in notebook.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]


def _identity(executed: Path) -> str:
    return nbformat.read(executed, as_version=4).metadata.get("mvqlab", {}).get("identity", "")


def _require_sphinx() -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise BookError(f"the book needs {', '.join(missing)}: pip install 'mvqlab[book]'")


def _render(source: Path, html: Path) -> None:
    from sphinx.cmd.build import build_main

    if build_main(["-q", "-b", "html", str(source), str(html)]) != 0:
        raise BookError(f"Sphinx could not render {source}; what it says stands above")
