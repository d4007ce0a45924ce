"""Import torchvision even where its compiled operators do not fit the installed torch.

A torchvision wheel carries operators compiled for one build of torch. Beside another build (the package
index's torchvision next to torch's CPU build, say) torchvision skips those operators quietly, and then
its import ends in "operator torchvision::nms does not exist", because it also describes two of them to
torch's compiler. lpips and torchmetrics fail with it, although neither uses a compiled operator.

So `import_torchvision()` comes before either of them. It leaves a torchvision that imports untouched.
"""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

MISSING_OPERATOR = re.compile(r"operator torchvision::\w+ does not exist")


class TorchvisionMismatchWarning(UserWarning):
    """torchvision was imported without its compiled operators, which were built for another torch."""


def import_torchvision() -> ModuleType:
    """torchvision, without its compiled operators if they were built for another torch (warned of once).

    A missing operator that is called raises torchvision's own error, or runs torchvision's slower Python
    version where it has one. An import that fails for any other reason raises as it would without this.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if not MISSING_OPERATOR.search(str(error)):
            raise
    torchvision = _import_without_operators()
    warnings.warn(_explanation(torchvision), TorchvisionMismatchWarning, stacklevel=2)
    return torchvision


def has_compiled_operators() -> bool:
    """Whether torchvision's compiled operators (nms, roi_align, ...) are there. Imports torchvision."""
    import_torchvision()
    import torch

    return hasattr(torch.ops.torchvision, "nms")


def _import_without_operators() -> ModuleType:
    # the failed import took `torchvision` itself away again, but left the submodules that it got to
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    with _fake_kernels_skipped():
        return importlib.import_module("torchvision")


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
