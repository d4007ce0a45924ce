"""torchvision is imported without its compiled operators where, and only where, they do not fit torch.

Small packages that go by the name of torchvision stand in for it, so that every case is tried on every
machine; the last test takes the real one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from mvqlab.support.torchvision_guard import (
    TorchvisionMismatchWarning,
    guard_torchvision,
    has_compiled_operators,
    import_torchvision,
)

REGISTER_FAKE = torch.library.register_fake
VERSION = "__version__ = '0.0.7'\n"
MISMATCHED = """
from . import extension

@torch.library.register_fake("torchvision::an_operator_that_is_missing")
def meta(boxes):
    return boxes
"""

Write = Callable[..., None]


@pytest.fixture
def write_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a package that `import torchvision` finds instead of the real one, until the test ends."""

    def write(source: str, extension: str = "") -> None:
        folder = tmp_path / "torchvision"
        folder.mkdir()
        (folder / "__init__.py").write_text("import torch\n" + VERSION + source)
        (folder / "extension.py").write_text(extension)

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    for name in torchvision_modules():
        monkeypatch.delitem(sys.modules, name)
    yield write
    for name in torchvision_modules():
        del sys.modules[name]


def torchvision_modules() -> list[str]:
    return [name for name in sys.modules if name.split(".")[0] == "torchvision"]


def test_a_torchvision_that_imports_is_left_alone(write_torchvision: Write) -> None:
    write_torchvision("seen = torch.library.register_fake")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torchvision = import_torchvision()
    assert torchvision.__version__ == "0.0.7"
    assert torchvision.seen is REGISTER_FAKE, "register_fake was patched for a torchvision that fits"


def test_a_mismatch_is_imported_and_warned_of_once(write_torchvision: Write) -> None:
    write_torchvision(MISMATCHED)
    with pytest.warns(
        TorchvisionMismatchWarning, match=r"torchvision 0\.0\.7 was built for another torch"
    ) as warned:
        first = import_torchvision()
        second = import_torchvision()
    assert first is second is sys.modules["torchvision"]
    assert len(warned) == 1
    assert first.meta("a box") == "a box", "the description itself must come through undisturbed"
    assert torch.library.register_fake is REGISTER_FAKE


def test_no_module_of_the_failed_import_is_kept(
    write_torchvision: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept, it would belong to a package object that no longer exists: its state would be doubled."""
    monkeypatch.setattr(sys, "extensions", [], raising=False)
    write_torchvision(MISMATCHED, extension="import sys; sys.extensions.append(sys.modules[__name__])")
    with pytest.warns(TorchvisionMismatchWarning):
        torchvision = import_torchvision()
    of_the_failed_import, kept = sys.extensions
    assert torchvision.extension is sys.modules["torchvision.extension"] is kept
    assert of_the_failed_import is not kept


def test_whoever_imports_torchvision_is_helped(write_torchvision: Write) -> None:
    """lpips and torchmetrics say `import torchvision` themselves, and so do people."""
    write_torchvision(MISMATCHED)
    with pytest.warns(TorchvisionMismatchWarning):
        import torchvision
    assert torchvision.__version__ == "0.0.7"


def test_the_guard_is_set_once() -> None:
    before = list(sys.meta_path)
    guard_torchvision()
    guard_torchvision()
    assert sys.meta_path == before


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("raise RuntimeError('CUDA driver is too old')", RuntimeError, "^CUDA driver is too old$"),
        ("import a_module_that_is_missing", ModuleNotFoundError, "a_module_that_is_missing"),
        ("raise ImportError('operator torchvision::nms does not exist')", ImportError, "operator"),
        ("torch.library.register_fake('another::operator', id)", RuntimeError, "another::operator"),
    ],
)
def test_other_errors_pass_through_unchanged(
    write_torchvision: Write,
    source: str,
    error: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the first try: a second one, patched, could hide what is wrong."""
    monkeypatch.setattr(sys, "tries", [], raising=False)
    write_torchvision(f"import sys; sys.tries.append('one more')\n{source}")
    with pytest.raises(error, match=message):
        import_torchvision()
    assert sys.tries == ["one more"]
    assert torch.library.register_fake is REGISTER_FAKE


def test_only_operators_of_torchvision_are_passed_over(write_torchvision: Write) -> None:
    """A second fault behind the mismatch shows itself, and register_fake is put back all the same."""
    write_torchvision(MISMATCHED + "torch.library.register_fake('another::operator', id)")
    with pytest.raises(RuntimeError, match="another::operator"):
        import_torchvision()
    assert torch.library.register_fake is REGISTER_FAKE


REAL = """
import json, sys, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import mvqlab
    import lpips, torch, torchmetrics, torchvision
    from mvqlab.support.torchvision_guard import has_compiled_operators
    n_warnings = sum(w.category.__name__ == "TorchvisionMismatchWarning" for w in caught)
    from torchmetrics.image.fid import FrechetInceptionDistance
    distance = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)(*torch.rand(2, 1, 3, 64, 64))
boxes = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2.1], [5, 5, 7, 7]])
try:
    kept = torchvision.ops.nms(boxes, torch.tensor([0.5, 0.9, 0.7]), 0.5).tolist()
except RuntimeError as error:
    kept = str(error)
json.dump({
    "n_warnings": n_warnings, "compiled": has_compiled_operators(), "kept": kept,
    "distance": distance.item(),
}, sys.stdout)
"""


@pytest.mark.slow
def test_the_real_torchvision_carries_lpips_and_torchmetrics() -> None:
    """In a fresh process. A compiled operator answers rightly or refuses: it never answers wrongly."""
    ran = subprocess.run([sys.executable, "-c", REAL], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said["distance"] >= 0.0
    if said["compiled"]:
        assert said["n_warnings"] == 0
        assert said["kept"] == [1, 2]
    else:
        assert said["n_warnings"] == 1
        assert "Couldn't load custom C++ ops" in said["kept"]


@pytest.mark.slow
def test_has_compiled_operators_says_whether_nms_runs() -> None:
    torchvision = import_torchvision()
    try:
        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except RuntimeError:
        runs = False
    else:
        runs = True
    assert has_compiled_operators() is runs
