"""Processes that halt at a chosen moment of their work, so that no test has to hit it by the clock."""

from __future__ import annotations

import os
import signal
from pathlib import Path

SITE = """import os
import signal

really, left = os.replace, [{count}]


def replace(source, target, **rest):
    if not str(target).endswith({name!r}):
        return really(source, target, **rest)
    left[0] -= 1
    if {is_before} and left[0] == 0:
        os.kill(os.getpid(), {number})
    really(source, target, **rest)
    if left[0] == 0:
        os.kill(os.getpid(), {number})


os.replace = replace
"""


def halting(
    folder: Path, name: str, count: int = 1, number: int = signal.SIGKILL, *, is_before: bool = False
) -> dict[str, str]:
    """The environment of a Python that gets signal `number` at its `count`th file called `name`.

    It comes when the file has its name, or where it `is_before`, when it is written and has it not yet.
    folder: receives the module that Python reads when it starts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    code = SITE.format(name=name, count=count, number=int(number), is_before=is_before)
    (folder / "sitecustomize.py").write_text(code)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH", "")]))
    return {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
