"""Import torchvision even where its compiled operators do not fit the installed torch.

A torchvision wheel carries operators compiled for one build of torch. Beside another build (the package
index's torchvision next to torch's CPU build, say) torchvision skips those operators quietly, and then
its import ends in "operator torchvision::nms does not exist", because it also describes two of them to
torch's compiler. lpips and torchmetrics fail with it, although neither uses a compiled operator.

So `import mvqlab` guards the import of torchvision, by whomever it is. A torchvision that imports is left
untouched. torch itself is imported only where it is needed: `import mvqlab` is quick.
"""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

MISSING_OPERATOR = re.compile(r"operator torchvision::\w+ does not exist")


class TorchvisionMismatchWarning(UserWarning):
    """torchvision was imported without its compiled operators, which were built for another torch."""


def guard_torchvision() -> None:
    """From now on, let `import torchvision` succeed whoever says it: mvqlab, lpips, torchmetrics or you.

    Costs nothing until then. `import mvqlab` calls it.
    """
    if not any(isinstance(finder, _GuardedFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _GuardedFinder())


def import_torchvision() -> ModuleType:
    """torchvision, without its compiled operators if they were built for another torch (warned of once).

    A missing operator that is called raises torchvision's own error, or runs torchvision's slower Python
    version where it has one. An import that fails for any other reason raises as it would without this.
    """
    guard_torchvision()
    return importlib.import_module("torchvision")


def has_compiled_operators() -> bool:
    """Whether torchvision's compiled operators (nms, roi_align, ...) are there. Imports torchvision."""
    import_torchvision()
    import torch

    return hasattr(torch.ops.torchvision, "nms")


class _GuardedFinder(MetaPathFinder):
    """Finds torchvision as Python would, and has it executed by a `_GuardedLoader`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "torchvision":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _GuardedLoader(spec.loader)
        return spec


class _GuardedLoader(Loader):
    """Executes a module as `loader` does and, if an operator of torchvision is missing, once more without."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        empty = dict(vars(module))
        try:
            self.loader.exec_module(module)
            return
        except RuntimeError as error:
            if not MISSING_OPERATOR.search(str(error)):
                raise
        _forget(module, empty)
        with _fake_kernels_skipped():
            self.loader.exec_module(module)
        warnings.warn(_explanation(module), TorchvisionMismatchWarning, stacklevel=2)


def _forget(module: ModuleType, empty: dict[str, Any]) -> None:
    """Undo what a failed import of torchvision got to: its submodules and its names."""
    for name in [name for name in sys.modules if name.startswith("torchvision.")]:
        del sys.modules[name]
    vars(module).clear()
    vars(module).update(empty)


@contextmanager
def _fake_kernels_skipped() -> Iterator[None]:
    """Let `torch.library.register_fake` pass over operators of torchvision, and no others."""
    import torch.library

    original = torch.library.register_fake

    def register_fake(operator: Any, function: Callable | None = None, /, **options: Any) -> Any:
        if str(operator).startswith("torchvision::"):
            return function or (lambda decorated: decorated)
        return original(operator, function, **options)

    torch.library.register_fake = register_fake
    try:
        yield
    finally:
        torch.library.register_fake = original


def _explanation(torchvision: ModuleType) -> str:
    import torch

    return (
        f"torchvision {torchvision.__version__} was built for another torch than {torch.__version__}, so its "
        "compiled operators (nms, roi_align, image decoding) are missing. mvqlab needs none of them, and "
        "lpips and torchmetrics work. A torchvision made for this torch ends this warning."
    )
