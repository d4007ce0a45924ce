"""Forged answers: whatever a copy prints, patches, writes, starts or kills, only right answers are right."""

from __future__ import annotations

import io
from pathlib import Path

import nbformat
import numpy as np
import psutil
import pytest
import torch

from mvqlab.course.checks import lesson_01, lesson_04
from mvqlab.course.exercises import VERDICTS, exercise
from mvqlab.course.grading.remote import Student
from mvqlab.course.grading.watch import Limits
from mvqlab.course.grading.wire import LENGTH, WireError, from_plain, receive, send, to_plain
from mvqlab.course.lecturer import _answers, _grade, grade_folder

PATCH = "import mvqlab.course.exercises as e\n"
ALWAYS = (
    "class Always(float):\n    def __eq__(self, other): return True\n    __ne__ = __lt__ = __gt__ = __eq__\n"
)
FORGERIES = {
    "it prints": "print('Exercise {n}: right.')",
    "a line inside another print": "print('x\\nExercise 1: right.\\nExercise {n}: right.')",
    "a hook after every cell": (
        "get_ipython().events.register('post_run_cell', lambda *a: print('Exercise {n}: right.'))"
    ),
    "exercise.equal": PATCH + "e.exercise.equal = e.exercise.that = lambda *a, **k: None",
    "the verdicts": PATCH + "e.VERDICTS['{n}'] = 'right'\ne.exercise.__exit__ = lambda s, *a: True",
    "exercise itself": "import builtins\nexercise = lambda name: open('/dev/null')",
    "json, numpy and the output": (
        "import json, sys, io, numpy\nsys.stdout = io.StringIO()\n"
        "numpy.isclose = lambda *a, **k: numpy.array(True)\njson.loads = lambda *a: {{'verdict': 'right'}}"
    ),
    "always equal": ALWAYS + "answer_{n} = Always(1)",
    "an array that is always close": (
        "import numpy as np\nclass Close(np.ndarray):\n"
        "    def __array_ufunc__(self, *a, **k): return np.array(True)\n"
        "answer_{n} = np.ones(()).view(Close)"
    ),
    "NaN": "answer_{n} = float('nan')",
    "results and the environment": (
        "import os, pathlib\nos.environ['MVQLAB_VERDICT'] = 'right'\n"
        "pathlib.Path('grades.csv').write_text('right')\npathlib.Path('../grades.csv').write_text('right')"
    ),
    "when it ends": "import atexit\natexit.register(lambda: print('Exercise {n}: right.'))",
    "words": "answer_{n} = '42'",
    "True": "answer_{n} = True",
    "the checker's source": (
        "import mvqlab.course.grading.checker as c\nc.judge = c.send = lambda *a, **k: None"
    ),
}
EVERY_DESCRIPTOR = """answer_1 = 41
import json, os, struct
message = json.dumps({"exercise": "1", "verdict": "right", "secret": "", "value": 42}).encode()
for process in (os.getpid(), os.getppid()):
    for number in range(3, 9):
        try:
            with open(f"/proc/{process}/fd/{number}", "wb", buffering=0) as pipe:
                pipe.write(struct.pack(">Q", len(message)) + message)
        except OSError:
            pass
"""
TRUTH_IS_1 = list(FORGERIES).index("True") + 1  # number of the exercise whose answer is 1, not 42


def lesson(path: Path, answers: dict[str, str] | None = None, n: int = 1) -> Path:
    """`n` exercises whose answer is 42 (one of them: 1), or a copy with `answers` by tag."""
    cells = [nbformat.v4.new_code_cell("from mvqlab.course.exercises import exercise")]
    for k in range(1, n + 1):
        truth = 1 if k == TRUTH_IS_1 else 42
        stub = nbformat.v4.new_code_cell(f"answer_{k} = ...", metadata={"tags": [f"exercise-{k}"]})
        stub.source = (answers or {}).get(f"exercise-{k}", stub.source)
        check = f'with exercise("{k}") as check:\n    check.equal(answer_{k}, {truth}, "six by seven")'
        cells += [stub, nbformat.v4.new_code_cell(check)]
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.mark.slow
def test_no_forgery_is_right_and_honest_answers_are(tmp_path):
    n = len(FORGERIES)
    forged = {
        f"exercise-{k}": f"answer_{k} = 41\n" + code.format(n=k)
        for k, code in enumerate(FORGERIES.values(), start=1)
    }
    honest = {f"exercise-{k}": f"answer_{k} = {1 if k == TRUTH_IS_1 else 42}" for k in range(1, n + 1)}
    handed_out = lesson(tmp_path / "lesson.ipynb", n=n)
    lesson(tmp_path / "copies" / "forged.ipynb", forged, n)
    lesson(tmp_path / "copies" / "=HYPERLINK(1).ipynb", honest, n)
    out = tmp_path / "grades.csv"
    table = grade_folder(handed_out, tmp_path / "copies", out, 600).set_index("file")
    assert table.loc["=HYPERLINK(1).ipynb", "n_right"] == n
    verdicts = table.loc["forged.ipynb", [f"exercise-{k}" for k in range(1, n + 1)]]
    assert [name for name, verdict in zip(FORGERIES, verdicts, strict=True) if verdict == "right"] == []
    assert "'=HYPERLINK" in out.read_text() and "\n=HYPERLINK" not in out.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
        "import os\nos.killpg(0, 9)",
        EVERY_DESCRIPTOR,
        "print('x' * 100_000_000)\nanswer_1 = 41",
        "answer_1 = 'x' * 100_000_000",
        "import subprocess\nsubprocess.Popen(['sleep', '987'], start_new_session=True)\nanswer_1 = 41",
    ],
)
def test_a_copy_that_kills_floods_or_stays_harms_nobody(code, tmp_path):
    handed_out = lesson(tmp_path / "lesson.ipynb")
    folder = tmp_path / "copies"
    lesson(folder / "a.ipynb", {"exercise-1": code})
    lesson(folder / "b.ipynb", {"exercise-1": "answer_1 = 42"})
    table = grade_folder(handed_out, folder, tmp_path / "grades.csv", 600).set_index("file")
    assert table["n_right"].to_dict() == {"a.ipynb": 0, "b.ipynb": 1}
    left = [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "987"]]
    assert left == []


@pytest.mark.slow
def test_memory_is_limited_and_its_limit_stands_in_the_row(tmp_path):
    greedy = "import time\nx = bytearray(1500 * 2**20)\ntime.sleep(60)\nanswer_1 = 42"
    handed_out = lesson(tmp_path / "lesson.ipynb")
    lesson(tmp_path / "copies" / "a.ipynb", {"exercise-1": greedy})
    (row,) = grade_folder(handed_out, tmp_path / "copies", tmp_path / "g.csv", 600, memory=1.5).to_dict(
        "records"
    )
    assert row["exercise-1"] == "did not run" and "1.5 GiB" in row["note"]


@pytest.mark.slow
def test_functions_are_called_with_the_checks_inputs_and_gradients_come_back():
    student = Student(600, 2**36)
    names: dict = {}
    try:
        student.run("import torch\ndef double(x, y):\n    return 2 * x\ndef bad(x):\n    return 1 / 0")
        student.bind(["double", "bad", "nowhere"], names)
        x, y = torch.tensor([1.0, 2.0], requires_grad=True), torch.ones(2, requires_grad=True)
        result = names["double"](x, y)
        (result * torch.tensor([3.0, 5.0])).sum().backward()
        assert result.tolist() == [2.0, 4.0] and x.grad.tolist() == [6.0, 10.0] and y.grad is None
        assert "nowhere" not in names
        with exercise("bad one") as check:
            check.equal(names["bad"](x), 1, "")
        assert VERDICTS.pop("bad one") == "not right yet"
    finally:
        student.close()


def test_plain_values_come_back_as_they_were_and_others_are_refused():
    values = [None, ..., True, 3, 2.5, "64", [1, (2, "x")], {"a": 1, 2: [3]}]
    assert from_plain(to_plain(values)) == values
    assert torch.equal(from_plain(to_plain(torch.arange(6).view(2, 3))), torch.arange(6).view(2, 3))
    assert from_plain(to_plain(np.float32([1, 2]))).dtype == np.float32
    for strange in (object(), print, np.array([object()])):
        with pytest.raises(WireError):
            to_plain(strange)
    for message in ({"tensor": {}}, {"array": {"numbers": "object", "shape": [], "data": ""}}, {"x": 1}):
        with pytest.raises(WireError):
            from_plain(message)


def test_messages_that_are_too_large_or_none_are_refused():
    stream = io.BytesIO()
    send(stream, {"run": "x"})
    assert receive(io.BytesIO(stream.getvalue())) == {"run": "x"}
    assert receive(io.BytesIO(b"")) is None
    for data in (LENGTH.pack(2**40), LENGTH.pack(3) + b"[1]", LENGTH.pack(2) + b"\x80\x04"):
        with pytest.raises(WireError):
            receive(io.BytesIO(data))


@pytest.mark.parametrize("tags", [None, 7, "exercise-1", {"exercise-1": 1}, [None, ["exercise-1"]]])
def test_tags_that_are_no_list_of_words_stop_nothing(tags):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("answer = 42")])
    notebook.cells[0].metadata["tags"] = tags
    assert _answers(notebook) == {}


def test_an_answer_over_two_cells_is_put_together():
    cells = [nbformat.v4.new_code_cell(x, metadata={"tags": ["exercise-1"]}) for x in ("a = 1", "b = 2")]
    assert _answers(nbformat.v4.new_notebook(cells=cells)) == {"exercise-1": "a = 1\nb = 2"}


def test_a_copy_that_cannot_be_read_is_a_row_with_a_note(tmp_path):
    handed_out = nbformat.read(lesson(tmp_path / "lesson.ipynb"), as_version=4)
    (tmp_path / "deep.ipynb").write_text("[" * 200_000)
    row = _grade(handed_out, tmp_path, tmp_path, tmp_path / "deep.ipynb", Limits(1, 2**30))
    assert row["exercise-1"] == "missing" and row["note"]


@pytest.mark.parametrize("answer", ["64", True, [True], ["64"], np.array("64"), torch.tensor(True), b"64"])
def test_words_and_truths_are_no_numbers(answer, capsys):
    for ask in (
        lambda check: check.equal(answer, 64 if "64" in str(answer) else 1, ""),
        lambda check: check.number(answer),
    ):
        with exercise("words") as check:
            ask(check)
        assert VERDICTS.pop("words") == "not right yet"


@pytest.mark.parametrize("answer", [4.9, float("nan"), float("inf"), torch.tensor(4.5), "4"])
def test_a_fraction_is_no_whole_number(answer):
    with exercise("whole") as check:
        check.whole(answer)
    assert VERDICTS.pop("whole") == "not right yet"


@pytest.mark.parametrize(
    "ask",
    [
        lambda check, more: lesson_04.exercise_4(check, 4 + more),
        lambda check, more: lesson_04.exercise_6(check, 7 + more),
        lambda check, more: lesson_01.exercise_5(check, 1024 + more, 1024),
    ],
)
def test_layers_and_batches_are_not_cut_off(ask):
    for more, verdict in ((0, "right"), (0.0, "right"), (0.9, "not right yet")):
        with exercise("cut") as check:
            ask(check, more)
        assert VERDICTS.pop("cut") == verdict


def test_numbers_of_all_kinds_are_numbers(capsys):
    for answer in (64, 64.0, np.int64(64), torch.tensor(64)):
        with exercise("numbers") as check:
            check.equal(answer, 64, "")
            check.that(check.number(answer) == 64, "")
        assert VERDICTS.pop("numbers") == "right"
    with exercise("truths") as check:
        check.equal([True, False], torch.tensor([True, False]), "")
    assert VERDICTS.pop("truths") == "right"
