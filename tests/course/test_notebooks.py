"""The notebooks a person opens: clean, complete, and really running from top to bottom."""

from __future__ import annotations

import ast
import importlib
import json
import re
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

import matplotlib.font_manager  # noqa: F401  # builds its cache now; in a lesson it would say so on stderr
import nbformat
import papermill
import pytest
from tiny_runs import tiny_overrides

from mvqlab.cli.main import main
from mvqlab.course.badges import INSTALL
from mvqlab.course.solutions import exercise_tags, read_solutions, solve
from mvqlab.grid.execute import ThisPython
from mvqlab.grid.notebook import read_notebook
from mvqlab.grid.parameters import ParameterError
from mvqlab.results import RESULT_FILE, load, read_json
from mvqlab.support.progress import QUIET_VARIABLE

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
COURSE = [path for path in NOTEBOOKS if path.stem[0].isdigit()]

SECTIONS = ["# ", "## Setup", "## Settings", "## Theory", "## Exercises", "## Conclusion", "## References"]

# What a lesson computes at its quick scale, and how much less of it shows here that it runs: all cells stay.
LESS = {
    "02_codebook_redundancy": {'"quick": (256, 48, 16)': '"quick": (256, 24, 8)'},
    "03_importance": {
        "n_images: int = 128": "n_images: int = 32",
        '"quick": 16,': '"quick": 8,',
        '"quick": 32,': '"quick": 8,',
        "batches(splits.train, 8,": "batches(splits.train, 2,",
    },
    "04_demasking": {
        '"quick": 128,': '"quick": 16,',
        "next(batches_in_order(splits.validation, 64))": "next(batches_in_order(splits.validation, 16))",
    },
    "05_mask_ratio": {'"quick": 48,': '"quick": 8,'},
    "06_stackformer": {'"quick": (128, 36)': '"quick": (64, 12)'},
    "07_stackformer_vs_raster": {
        "few_images: int = 256": "few_images: int = 64",
        '"quick": (120, 3)': '"quick": (30, 1)',
        "n_images = 256": "n_images = 64",
        "n_timed = 32": "n_timed = 4",
    },
    "08_conditional_generation": {'"quick": 96,': '"quick": 32,'},
    "09_paper_code_lab": {'"quick": 80,': '"quick": 20,'},
    "10_your_own_ablation": {
        '"quick": 100,': '"quick": 16,',
        '"data.train_size=160", "data.validation_size=40"': '"data.train_size=48", "data.validation_size=12"',
        '"evaluation.judge_steps": 20, "evaluation.images": 40': '"evaluation.judge_steps": 2',
    },
    "11_other_ways": {
        '"quick": (240, 800, 4000, 128)': '"quick": (8, 8, 64, 16)',
        "steps: int = 400": "steps: int = 8",
    },
}


def cells(path: Path, kind: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_has_every_section_in_order(path: Path) -> None:
    text = "\n".join(cell.source for cell in cells(path, "markdown"))
    places = [text.find(f"\n{section}") if section != "# " else text.find("# ") for section in SECTIONS]
    assert -1 not in places and places == sorted(places), dict(zip(SECTIONS, places, strict=True))
    assert "**Time:**" in text and "**Hardware:**" in text and "What do you expect?" in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_parameter_says_its_type_and_meaning(path: Path) -> None:
    tagged = [cell for cell in cells(path, "code") if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    lines = tagged[0].source.splitlines()
    assert len(lines) <= 12
    for line in lines:
        node = ast.parse(line).body[0]
        assert isinstance(node, ast.AnnAssign), line
        ast.literal_eval(node.value)
        assert line.partition("  # ")[2], f"{line}: no word on what it means"
    assert {parameter.name for parameter in read_notebook(path).parameters.values()} >= {"seed", "output"}


def own_cells(path: Path) -> list[str]:
    """The sources of the cells of code, but for the one that installs mvqlab where it is missing."""
    return [cell.source for cell in cells(path, "code") if INSTALL not in cell.metadata.get("tags", [])]


def first_steps(path: Path, injected: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Run a notebook up to its check of the parameters, in `folder`, as if papermill had added a cell."""
    setup, declared, check = own_cells(path)[:3]
    monkeypatch.chdir(folder)
    namespace: dict = {"In": ["", setup, declared]}
    exec(setup, namespace)
    exec(declared, namespace)
    if injected:
        namespace["In"].append(f"# Parameters\n{injected}\n")
        exec(injected, namespace)
    namespace["In"].append(check)
    for statement in ast.parse(check).body:
        if "check_parameters(" in ast.unparse(statement):
            exec(ast.unparse(statement), namespace)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_are_checked_before_anything_else(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also where a notebook lies alone, in an empty folder."""
    body = ast.parse(own_cells(path)[2]).body
    assert ast.unparse(body[0]).startswith("check_parameters(globals()")
    first_steps(path, "", monkeypatch, tmp_path)
    first_steps(path, "seed = 3", monkeypatch, tmp_path)
    faults = [
        ("sede = 3", "no parameter 'sede' — did you mean 'seed'"),
        ("seed = -1", "seed must be a whole"),
    ]
    faults += [("seed = '3'", "seed must be"), ("output = 5", "output must be a str")]
    if path in COURSE:
        faults += [("scal = 'full'", "did you mean 'scale'"), ("scale = 'fulll'", "one of quick, full, not")]
    for injected, words in faults:
        with pytest.raises(ParameterError, match=words) as caught:
            first_steps(path, injected, monkeypatch, tmp_path)
        assert "seed: int = 0  # " in str(caught.value), "what is known is listed"


@pytest.mark.parametrize(
    ("name", "injected", "words"),
    [
        ("00_start_here", "image = 256", "image must be a whole number from 0 to 255, not 256"),
        ("01_vector_quantisation", "batch_size = 0", "batch_size must be a whole number from 1 on, not 0"),
        ("03_importance", "image = 128", "image must be a whole number from 0 to 127"),
        ("06_stackformer", "drawn = 9", "from 0 to 8"),
        ("08_conditional_generation", "guidance = 'much'", "guidance must be a float"),
        (
            "02_codebook_redundancy",
            "plain = 'absent'",
            "plain must be one of .*simple_plain_vq.*'absent'",
        ),
        ("08_conditional_generation", "model = 'mine'", "model must be one of simple_stackformer, not"),
        ("08_conditional_generation", "model = 'simple_mqvae'", "model must be one of"),
        ("10_your_own_ablation", "root = 'absent'", "there is no absent from"),
        ("05_mask_ratio", "table = 'absent.csv'", "there is no absent.csv from"),
        ("11_other_ways", "kept_half = 'middle'", "one of upper, lower, left, right, not 'middle'"),
        ("ablation_point", "mask = 'Random'", "mask must be one of adaptive, "),
        ("ablation_point", "mask_ration = 0.5", "did you mean 'mask_ratio'"),
    ],
)
def test_a_value_that_does_not_fit_is_named(
    name: str, injected: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ROOT / "notebooks" / f"{name}.ipynb"
    with pytest.raises(ParameterError, match=words):
        first_steps(path, injected, monkeypatch, path.parent)


@pytest.mark.parametrize(
    ("name", "injected"),
    [("05_mask_ratio", "table = '../results/mine.csv'"), ("10_your_own_ablation", "root = '../mine'")],
)
def test_a_forgotten_cwd_is_told(
    name: str, injected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ParameterError, match="papermill --cwd"):
        first_steps(ROOT / "notebooks" / f"{name}.ipynb", injected, monkeypatch, tmp_path)


def test_papermill_tells_the_check_what_it_was_given() -> None:
    """Through a kernel: the check reads papermill's own cell from the history."""
    sources = ['scale: str = "quick"  # quick or full\noutput: str = ""  # none']
    sources += ["from mvqlab.grid.parameters import check_parameters\n\ncheck_parameters(globals())"]
    made = [nbformat.v4.new_code_cell(source) for source in sources]
    made[0].metadata["tags"] = ["parameters"]
    with pytest.raises(papermill.PapermillExecutionError, match="did you mean 'scale'") as caught:
        papermill.execute_notebook(
            nbformat.v4.new_notebook(cells=made),
            None,
            parameters={"scal": "full", "scale": "fulll"},
            kernel_name="python3",
            language="python",
            kernel_manager_class=ThisPython,
            progress_bar=False,
        )
    assert "quick, full, not 'fulll'" in caught.value.evalue


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_imports_only_what_the_library_has(path: Path) -> None:
    for cell in cells(path, "code"):
        assert "sys.path" not in cell.source and "!pip" not in cell.source
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mvqlab"):
                module = importlib.import_module(node.module)
                for name in node.names:
                    is_there = hasattr(module, name.name) or find_spec(f"{node.module}.{name.name}")
                    assert is_there, f"{node.module} has no {name.name}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_stored_clean_and_readable_as_a_diff(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert [cell.id for cell in notebook.cells] == [str(n) for n in range(len(notebook.cells))]
    for cell in notebook.cells:
        assert cell.metadata.keys() <= {"tags"}, "metadata that editors leave behind"
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


@pytest.mark.parametrize("path", COURSE, ids=lambda path: path.stem)
def test_a_lesson_has_a_scale_and_exercises_with_solutions(path: Path) -> None:
    assert read_notebook(path).parameters["scale"].default == "quick"
    notebook = nbformat.read(path, as_version=4)
    tags = exercise_tags(notebook)
    assert 3 <= len(tags) <= 6 and tags == [f"exercise-{n}" for n in range(1, len(tags) + 1)]
    assert list(read_solutions(path.parent / "solutions" / f"{path.stem}.py")) == tags
    words = "\n".join(cell.source for cell in cells(path, "markdown"))
    assert "**You will learn**" in words and "Reading it" in words


@pytest.mark.slow
@pytest.mark.parametrize("path", COURSE, ids=lambda path: path.stem)
def test_a_lesson_runs_to_its_end(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As handed out every exercise is open, solved every one is right; figures show, stderr is empty.

    In an empty folder: a lesson needs no other file beside it.
    """
    monkeypatch.setenv(QUIET_VARIABLE, "1")
    monkeypatch.setenv("PYTHONWARNINGS", "ignore:torchvision")  # of this machine's wheels, see pyproject.toml
    notebook = with_less(nbformat.read(path, as_version=4), LESS.get(path.stem, {}))
    tags = exercise_tags(notebook)
    executed = papermill.execute_notebook(
        and_then_solved(notebook, read_solutions(path.parent / "solutions" / f"{path.stem}.py")),
        None,
        parameters={"output": str(tmp_path)},
        kernel_name="python3",
        kernel_manager_class=ThisPython,
        cwd=tmp_path,
        progress_bar=False,
    )
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    streams = [output for output in outputs if output.output_type == "stream"]
    printed = "".join(output.text for output in streams)
    verdicts = re.findall(r"^Exercise (\d+): (not done yet|right\.)", printed, re.MULTILINE)
    numbers = [str(n) for n in range(1, len(tags) + 1)]
    assert verdicts == [(n, "not done yet") for n in numbers] + [(n, "right.") for n in numbers]
    said = [output.text for output in streams if output.name == "stderr"]
    assert [words for words in said if "DataWarning" not in words] == []  # lesson 10 skips spoiled images
    shown = [output.data for output in outputs if "data" in output]
    assert any("image/png" in data for data in shown), "no figure came out"
    assert not any("<Figure" in data.get("text/plain", "") and "image/png" not in data for data in shown)
    assert read_json(tmp_path / RESULT_FILE)["metrics"]


def with_less(notebook: nbformat.NotebookNode, changes: dict[str, str]) -> nbformat.NotebookNode:
    """`notebook` with smaller numbers wherever its cells say how much is computed."""
    for more, less in changes.items():
        saying = [cell for cell in notebook.cells if cell.cell_type == "code" and more in cell.source]
        assert saying, f"LESS knows other numbers than the lesson: {more}"
        for cell in saying:
            cell.source = cell.source.replace(more, less)
    return notebook


def and_then_solved(notebook: nbformat.NotebookNode, solutions: dict[str, str]) -> nbformat.NotebookNode:
    """`notebook` as handed out, then each solution with the cells of code that follow its exercise.

    What was trained on the way serves both, so that a lesson runs once.
    """
    solved = solve(notebook, solutions).cells
    again = []
    for start, cell in enumerate(solved):
        if any(tag in solutions for tag in cell.metadata.get("tags", [])):
            section = takewhile(lambda cell: cell.cell_type == "code", solved[start:])
            again += [nbformat.v4.new_code_cell(cell.source) for cell in section]
    return nbformat.from_dict({**notebook, "cells": [*notebook.cells, *again]})


@pytest.mark.slow
def test_the_point_notebook_runs_as_a_grid_and_ends_in_a_table_with_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The road from images to a table of ablations, at toy size: the plain model and MQ-VAE, both judged."""
    monkeypatch.setenv("MVQLAB_CACHE", str(tmp_path / "cache"))
    grid = tmp_path / "toy.yaml"
    base = {"preset": "shapes32", "overrides": tiny_overrides("evaluation.choices=4")}
    points = [
        {"label": "plain", "mask": "none", "mask_ratio": 0.0, "transformer": "raster"},
        {
            "label": "masked", "mask": "adaptive", "mask_ratio": 0.5, "transformer": "stackformer",
            "stage2.half": "first", "stage2.validate_every": 1,
        },
    ]  # fmt: skip
    notebook = str(ROOT / "notebooks" / "ablation_point.ipynb")
    content = {"purpose": "try", "notebook": notebook, "results": str(tmp_path / "out"), "base": base}
    grid.write_text(json.dumps({**content, "points": points}))

    assert main(["grid", "run", str(grid)]) == 0
    assert main(["grid", "table", str(grid)]) == 0
    printed = capsys.readouterr().out
    table = load(tmp_path / "out").set_index("label")
    assert table["status"].tolist() == ["done", "done"]
    columns = ["psnr", "ssim", "lpips_random", "rfid_judge", "codebook_perplexity", "fid_judge"]
    assert table[[*columns, "samples_per_second", "stage1_seconds_per_step"]].notna().all(axis=None)
    counted = ["stage1_gflop_per_image", "stage2_gflop_per_image", "drawing_gflop_per_image"]
    assert (table[counted] > 0).all(axis=None)
    chosen = table[["psnr_by_variance", "psnr_by_truth", "regret_of_adaptive"]]
    assert chosen.loc["masked"].notna().all() and chosen.loc["plain"].isna().all()
    assert table["code_loss_gap"].notna().all() and table["bits_per_image_gap"].notna().all()
    assert table.loc["masked", "stage2.half"] == "first" and table["stage2.half"].isna()["plain"]
    assert table.loc["masked", "best_bits_per_image_step"] in (1, 2, 3)
    assert table.loc["plain", "n_pairs"] == 16 and table.loc["masked", "n_pairs"] == 8
    assert "masks_masked.png" in printed and "executed.ipynb" in printed
    for figure in ("reconstructions", "masks_masked", "samples", "curves_stage1", "curves_stage2", "metrics"):
        assert (tmp_path / "out" / f"{figure}.png").stat().st_size > 5000
    for executed in (tmp_path / "out").glob("*/executed.ipynb"):
        outputs = [o for cell in cells(executed, "code") for o in cell.outputs]
        words = " ".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stderr")
        assert "Traceback" not in words
