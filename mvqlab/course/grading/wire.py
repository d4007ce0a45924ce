"""Values between two processes that do not trust each other: JSON of a few plain types, never pickles."""

from __future__ import annotations

import base64
import json
import struct
import subprocess
import threading
from contextlib import suppress
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
import torch
from torch import Tensor

LARGEST_MESSAGE = 64 * 2**20  # bytes
NUMBERS = {"bool", "int8", "int16", "int32", "int64", "uint8", "float16", "float32", "float64"}
LENGTH = struct.Struct(">Q")


class WireError(ValueError):
    """A value that is no plain data, or too large; or a message that is none."""


def to_plain(value: Any) -> Any:
    """`value` as what JSON can hold. Types are looked at exactly: a subclass sends what it holds, no methods.

    Raises WireError for what is no number, word, array, table, or list, tuple or dict of these.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if value is Ellipsis:
        return {"dots": True}
    if isinstance(value, Tensor):
        held = value.detach().cpu()
        needs_gradient = bool(value.requires_grad)
        wide = held.float() if held.dtype == torch.bfloat16 else held
        return {"tensor": _of_array(wide.numpy()), "needs_gradient": needs_gradient}
    if isinstance(value, np.generic):
        return to_plain(value.item())
    if isinstance(value, np.ndarray):
        return {"array": _of_array(value)}
    if isinstance(value, pd.DataFrame):
        return {"table": {str(name): to_plain(value[name].tolist()) for name in value}}
    if isinstance(value, pd.Series):
        return {"array": _of_array(value.to_numpy())}
    if isinstance(value, list):
        return [to_plain(part) for part in value]
    if isinstance(value, tuple):
        return {"tuple": [to_plain(part) for part in value]}
    if isinstance(value, dict):
        return {"dict": [[to_plain(key), to_plain(part)] for key, part in value.items()]}
    raise WireError(f"a {type(value).__name__} is no number, word, list or array")


def from_plain(plain: Any) -> Any:
    """The value that `plain` stands for. Raises WireError for anything else."""
    if isinstance(plain, list):
        return [from_plain(part) for part in plain]
    if not isinstance(plain, dict):
        return plain
    try:
        if "dots" in plain:
            return ...
        if "tensor" in plain:
            tensor = torch.from_numpy(_to_array(plain["tensor"]))
            return tensor.requires_grad_() if plain.get("needs_gradient") is True else tensor
        if "array" in plain:
            return _to_array(plain["array"])
        if "table" in plain:
            return pd.DataFrame({str(name): from_plain(part) for name, part in plain["table"].items()})
        if "tuple" in plain:
            return tuple(from_plain(part) for part in plain["tuple"])
        return {from_plain(key): from_plain(part) for key, part in plain["dict"]}
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise WireError(f"a message holds no value ({type(error).__name__})") from None


def _of_array(array: np.ndarray) -> dict[str, Any]:
    if array.dtype.name not in NUMBERS:
        raise WireError(f"an array of {array.dtype.name} holds no numbers")
    if array.nbytes > LARGEST_MESSAGE // 2:
        raise WireError(f"an array of {array.nbytes} bytes is too large")
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
    return {"numbers": array.dtype.name, "shape": list(array.shape), "data": data}


def _to_array(plain: dict[str, Any]) -> np.ndarray:
    if plain["numbers"] not in NUMBERS:
        raise WireError("an array holds no numbers")
    data = base64.b64decode(plain["data"], validate=True)
    return np.frombuffer(data, dtype=plain["numbers"]).reshape(plain["shape"]).copy()


def send(stream: BinaryIO, message: dict[str, Any]) -> None:
    """Write `message` to `stream`, its length before it. Raises WireError if it is too large."""
    data = json.dumps(message).encode("utf-8")
    if len(data) > LARGEST_MESSAGE:
        raise WireError(f"an answer of {len(data)} bytes is too large")
    stream.write(LENGTH.pack(len(data)) + data)
    stream.flush()


def receive(stream: BinaryIO) -> dict[str, Any] | None:
    """The next message of `stream`; None at its end. Raises WireError for what is no message."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack(head)
    if length > LARGEST_MESSAGE:
        raise WireError(f"an answer of {length} bytes is too large")
    try:
        message = json.loads(stream.read(length))
    except (ValueError, RecursionError):
        raise WireError("an answer was no data") from None
    if not isinstance(message, dict):
        raise WireError("an answer was no data")
    return message


def put_away(process: subprocess.Popen[bytes], reader: threading.Thread) -> None:
    """Wait for a killed `process`, and close its pipes: what it wrote once its `reader` is done with it."""
    process.wait()
    with suppress(OSError):
        process.stdin.close()  # type: ignore[union-attr]
    reader.join(timeout=5.0)
    if not reader.is_alive():
        process.stdout.close()  # type: ignore[union-attr]
