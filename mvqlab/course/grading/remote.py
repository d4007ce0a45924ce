"""What the checker knows of a student's process: names whose values it fetches, functions that it calls."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

from mvqlab.course.grading.wire import WireError, from_plain, put_away, receive, send, to_plain
from mvqlab.support.process_groups import descendants, kill_all, own_group

TO_START = 120.0  # seconds in which a process may import what it needs, on a busy machine
ENDED = "its process ended by itself"


class StudentGone(BaseException):  # nothing in a lesson may catch it
    """The student's process ended, was too slow, or sent what is no data; the message says which."""


class RaisedThere(Exception):  # noqa: N818 (not an error of the checker's)
    """The student's code raised; the message is what it raised."""


class Student:
    """A process of `mvqlab.course.grading.student`, given `seconds` for each thing that it is asked."""

    def __init__(self, seconds: float, memory: int) -> None:
        self.seconds = seconds
        self.gone = ""
        self._start = TO_START  # seconds more for the first answer
        self._is_asked = False  # whether an answer is still to come
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mvqlab.course.grading.student"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            **own_group(),
        )
        self._replies: queue.Queue[dict[str, Any] | str] = queue.Queue()
        self._limit: dict[str, int] = {"limit": memory}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def run(self, source: str) -> None:
        """Begin a cell there, which what is asked next waits for; what it raises stays there."""
        self._ask_later({"run": source})

    def bind(self, names: list[str], namespace: dict[str, Any]) -> None:
        """Put what `names` stand for there into `namespace`: data as it is, functions as calls."""
        for name in names:
            namespace.pop(name, None)
            reply = self._ask({"get": name})
            if reply.get("function") is True:
                namespace[name] = self._function(name)
            elif "value" in reply:
                namespace[name] = self._value(reply)
            elif "raised" in reply:
                namespace[name] = Unsendable()

    def close(self) -> None:
        """Kill the process, and what it started as far as it can be found."""
        started = descendants(self.process.pid)
        self.process.kill()
        kill_all(started)
        put_away(self.process, self._reader)

    def _function(self, name: str) -> Callable[..., Any]:
        def call(*inputs: Any, **named: Any) -> Any:
            request = {
                "call": name,
                "inputs": [to_plain(value) for value in inputs],
                "named": [[key, to_plain(value)] for key, value in named.items()],
            }
            leaves = [value for value in inputs if isinstance(value, Tensor) and value.requires_grad]
            reply = self._ask(request)
            result = self._value(reply)
            if isinstance(result, Tensor) and result.requires_grad:
                return _Linked.apply(self, reply.get("call"), result.detach(), *leaves)
            return result

        call.__name__ = name
        return call

    def backward(self, call: Any, upstream: Tensor, n_inputs: int) -> list[Tensor | None]:
        """Gradients of the inputs of `call` there, as many as it had that need one."""
        found = self._value(self._ask({"backward": call, "upstream": [to_plain(upstream)]}))
        right = isinstance(found, list) and len(found) == n_inputs
        if not right or not all(part is None or isinstance(part, Tensor) for part in found):
            raise RaisedThere("no gradient came back")
        return found

    def _value(self, reply: dict[str, Any]) -> Any:
        if "value" not in reply:
            raise RaisedThere(str(reply.get("raised", "the name is not there")))
        try:
            return from_plain(reply["value"])
        except (WireError, RecursionError) as error:
            raise RaisedThere(str(error)) from None

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self._ask_later(request)
        return self._wait()

    def _ask_later(self, request: dict[str, Any]) -> None:
        if self._is_asked:
            self._wait()
        if self.gone:
            raise StudentGone(self.gone)
        try:
            send(self.process.stdin, {**request, **self._limit})  # type: ignore[arg-type]
        except OSError:
            self._give_up(ENDED)
        self._limit, self._is_asked = {}, True

    def _wait(self) -> dict[str, Any]:
        try:
            reply = self._replies.get(timeout=self.seconds + self._start)
        except queue.Empty:
            reply = f"a cell ran longer than {self.seconds:g} s"
        if isinstance(reply, str):
            self._give_up(reply)
        self._is_asked, self._start = False, 0.0
        return reply

    def _give_up(self, why: str) -> NoReturn:
        self.gone, self._is_asked = why, False
        self.close()
        raise StudentGone(why)

    def _read(self) -> None:
        while True:
            try:
                message = receive(self.process.stdout)  # type: ignore[arg-type]
            except (WireError, OSError, ValueError, MemoryError) as error:
                self._replies.put(str(error))
                return
            self._replies.put(ENDED if message is None else message)
            if message is None:
                return


class Unsendable:
    """Stands for an answer that is no plain data; whatever a check does with it fails."""


class _Linked(torch.autograd.Function):
    """The result of a student's function, with the gradient that the student's process computes."""

    @staticmethod
    def forward(context: Any, student: Student, call: Any, result: Tensor, *leaves: Tensor) -> Tensor:
        """`result` ()."""
        context.student, context.call, context.leaves = student, call, leaves
        return result.clone()

    @staticmethod
    def backward(context: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the leaves, each of the shape of its leaf."""
        found = context.student.backward(context.call, upstream[0], len(context.leaves))
        return (None, None, None, *found)
