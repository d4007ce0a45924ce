"""The book of the course, built from a course of one lesson."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

import nbformat
import pytest

from mvqlab.cli.main import main
from mvqlab.course import book
from mvqlab.course.book import PICTURE, BookError, build_book
from mvqlab.play.vendored import VendorError
from mvqlab.support.files import InTheWayError

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture
def course(tmp_path: Path) -> Path:
    folder = tmp_path / "notebooks"
    shutil.copytree(NOTEBOOKS / "book", folder / "book")
    shutil.copy(NOTEBOOKS / "LECTURER.md", folder)
    write_lesson(folder, "print('scale', scale)")
    return folder


def write_lesson(folder: Path, source: str) -> None:
    parameters = nbformat.v4.new_code_cell('scale: str = "quick"', metadata={"tags": ["parameters"]})
    title = nbformat.v4.new_markdown_cell("# 0. A lesson\n\n$$ B \\leftarrow \\sqrt{B} $$")
    code = nbformat.v4.new_code_cell(source)
    nbformat.write(nbformat.v4.new_notebook(cells=[title, parameters, code]), folder / "00_lesson.ipynb")


@pytest.mark.slow
def test_a_book_shows_what_the_lessons_print_and_needs_no_network(course, tmp_path):
    (course / "to_play_with.ipynb").write_text((course / "00_lesson.ipynb").read_text())
    page = tmp_path / "book" / "html" / "index.html"
    book = ["course", "book", "--notebooks", str(course), "--out", str(tmp_path / "book")]
    assert main([*book, "--scale", "full", "--no-play"]) == 0
    assert "A lesson" in page.read_text() and "to_play_with.html" in page.read_text()
    assert "scale full" not in (page.parent / "to_play_with.html").read_text()
    lesson = (page.parent / "00_lesson.html").read_text()
    assert "scale full" in lesson and "papermill" not in lesson
    assert 'src="http' not in lesson and 'href="https://cdn' not in lesson
    assert f'src="_images/{PICTURE}"' in page.read_text() and (page.parent / "_images" / PICTURE).exists()
    options = (page.parent / "_static" / "documentation_options.js").read_text()
    assert "SHOW_SEARCH_SUMMARY: true" in options and 'role="main"' in lesson, "what excerpts are cut out of"
    assert "mathjax" in lesson and list(page.parent.glob("_static/**/tex-*.js"))

    executed = tmp_path / "book" / "source" / "00_lesson.ipynb"
    before = executed.stat().st_mtime_ns
    assert main([*book, "--scale", "full", "--no-play"]) == 0
    assert executed.stat().st_mtime_ns == before, "what has not changed is not run again"
    assert main([*book, "--no-play"]) == 0
    assert "scale quick" in (page.parent / "00_lesson.html").read_text()


def test_without_kept_pictures_a_book_begins_with_words(course, tmp_path, monkeypatch):
    monkeypatch.setattr(book, "FOLDER", tmp_path / "nowhere")
    book._put_picture(course / "book")
    said = (course / "book" / "index.md").read_text()
    assert PICTURE not in said and said.startswith("# Masked vector quantisation\n\n")


@pytest.mark.slow
def test_a_book_leads_to_the_page_that_lies_in_it(course, tmp_path, monkeypatch):
    def build(folder: Path, *, fresh: bool) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.html").write_text("the page")

    monkeypatch.setattr(book, "build_page", build)
    html = build_book(course, tmp_path / "book").parent
    assert 'href="play.html"' in (html / "index.html").read_text()
    links = re.findall(r'href="(play/[^"#]*)#[^"]*"', (html / "play.html").read_text())
    assert len(links) == 5 and all((html / link).read_text() == "the page" for link in links)

    def fail(folder: Path, *, fresh: bool) -> None:
        raise VendorError("there is no npm here: install Node.js")

    monkeypatch.setattr(book, "build_page", fail)
    build_book(course, tmp_path / "another")
    said = (tmp_path / "another" / "html" / "play.html").read_text()
    assert "install Node.js" in said and "play/index.html" not in said


@pytest.mark.slow
def test_a_lesson_that_fails_is_named_and_nothing_is_rendered(course, tmp_path):
    write_lesson(course, "1 / 0")
    with pytest.raises(BookError, match=r"00_lesson.ipynb failed: ZeroDivisionError: division by zero"):
        build_book(course, tmp_path / "book")
    assert not (tmp_path / "book" / "html").exists()


@pytest.mark.parametrize("part", ["source", "html"])
def test_a_book_is_never_written_over_somebody_elses_site(course, tmp_path, part):
    own = tmp_path / "docs" / part / "index.md"
    own.parent.mkdir(parents=True)
    own.write_text("by hand")
    with pytest.raises(InTheWayError, match="no book of mvqlab"):
        build_book(course, tmp_path / "docs")
    assert [path for path in (tmp_path / "docs").rglob("*") if path.is_file()] == [own]


def test_a_folder_without_lessons_is_refused(tmp_path):
    with pytest.raises(BookError, match="holds no lessons"):
        build_book(tmp_path, tmp_path / "book")
    assert not (tmp_path / "book").exists()


def test_all_that_sphinx_loads_is_asked_for(monkeypatch):
    """Against a book that failed in Sphinx, after its lessons had run."""
    conf = runpy.run_path(str(NOTEBOOKS / "book" / "conf.py"))
    assert {*conf["extensions"], conf["html_theme"]} <= set(book.NEEDED)
    monkeypatch.setattr(book, "find_spec", lambda name: None if "mathjax" in name else name)
    with pytest.raises(BookError, match=r"needs sphinx-mathjax-offline: pip install 'mvqlab\[book\]'"):
        book._require_sphinx()


def test_a_folder_that_is_not_there_is_named_as_it_was_typed(capsys):
    assert main(["course", "book", "--notebooks", "nope"]) == 2
    assert capsys.readouterr().err.startswith("mvqlab: nope holds no lessons")
