"""The process in which a student's code runs: it runs cells, and sends what names stand for as plain data.

It is asked by `mvqlab.course.grading.checker` and is not believed: whatever it sends is an answer to judge.
"""

from __future__ import annotations

from typing import Any

import torch
from IPython.core.interactiveshell import InteractiveShell
from torch import Tensor

from mvqlab.course.grading.shell import new_shell, run_cell, take_pipes
from mvqlab.course.grading.wire import WireError, from_plain, receive, send, to_plain

try:
    import resource
except ImportError:  # not a POSIX system
    resource = None  # type: ignore[assignment]

LARGEST_FILE = 2**30  # bytes that one file of a student may have


def main() -> None:
    """Answer requests until there are none."""
    requests, replies = take_pipes()
    shell, calls = new_shell(), Calls()
    while (request := receive(requests)) is not None:
        if "limit" in request:
            _limit_to(int(request["limit"]))
        try:
            reply = _answer(shell, calls, request)
        except BaseException as error:  # a SystemExit of the student's, too, is an answer
            reply = {"raised": f"{type(error).__name__}: {error}"[:500]}
        try:
            send(replies, reply)
        except (WireError, TypeError, ValueError, RecursionError) as error:
            send(replies, {"raised": str(error)[:500]})


class Calls:
    """The last calls of functions whose results carry a gradient, for the checker's backward passes."""

    def __init__(self) -> None:
        self.made: list[tuple[list[Tensor], list[Tensor]]] = []

    def call(self, function: Any, plain: list[Any], named: list[Any]) -> dict[str, Any]:
        """Call `function` and remember inputs and outputs."""
        inputs, names = [from_plain(value) for value in plain], {k: from_plain(v) for k, v in named}
        result = function(*inputs, **names)
        self.made.append((_needing(inputs), _needing([result])))
        return {"value": to_plain(result), "call": len(self.made) - 1}

    def backward(self, number: int, upstream: list[Any]) -> dict[str, Any]:
        """Gradients of the inputs of call `number`, given those of its outputs; None where none arrives."""
        inputs, outputs = self.made[number]
        gradients = torch.autograd.grad(
            outputs, inputs, [from_plain(g) for g in upstream], allow_unused=True, retain_graph=True
        )
        return {"value": to_plain(list(gradients))}


def _needing(values: list[Any]) -> list[Tensor]:
    return [value for value in values if isinstance(value, Tensor) and value.requires_grad]


def _answer(shell: InteractiveShell, calls: Calls, request: dict[str, Any]) -> dict[str, Any]:
    if "run" in request:
        return {"error": run_cell(shell, request["run"])}
    if "backward" in request:
        return calls.backward(request["backward"], request["upstream"])
    name = request.get("get") or request.get("call")
    if name not in shell.user_ns:
        return {"missing": True}
    value = shell.user_ns[name]
    if "call" in request:
        return calls.call(value, request["inputs"], request["named"])
    try:
        return {"value": to_plain(value)}
    except WireError as error:
        return {"function": True} if callable(value) else {"raised": str(error)}


def _limit_to(memory: int) -> None:
    if resource is None:
        return
    limits = {"RLIMIT_FSIZE": LARGEST_FILE, "RLIMIT_CORE": 0, "RLIMIT_DATA": memory}
    for name, limit in limits.items():
        number = getattr(resource, name, None)
        if number is not None:
            resource.setrlimit(number, (limit, limit))


if __name__ == "__main__":
    main()
