"""Weights of an ONNX file in as few bits as hold them, made 32-bit numbers again when the file is opened.

Shipped models are kept in 16 bits, or in 8 with a scale a row (`mvqlab.training.packed_weights`). A graph's
weights come in 32 all the same. What is stored here is told from the values alone:

    whole numbers     in the smallest type that holds them                       Cast
    w = s q           q in 8 bits, a scale s for each row, or each column        Cast, Mul
    w                 in 16 bits, where these say it exactly                     Cast
    w                 in 32 bits                                                 nothing

So nothing is rounded that was not rounded before, and a graph computes what the model computes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

Array = NDArray[Any]
FEWEST = 256  # numbers: for fewer, a node more does not pay
LARGEST = 127  # of a weight in 8 bits
SAME = 3e-7  # as a share of a row's largest weight: the last bits of a product in 32


class Stored(NamedTuple):
    """Numbers in few bits and, where they are to be multiplied by one, a scale that broadcasts to them."""

    numbers: Array
    scale: Array | None = None


def shrink(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model`, changed in place: weights in fewer bits, and nothing of what its exporter noted down."""
    from onnx import numpy_helper

    graph = model.graph
    initializers, nodes = [], []
    for initializer in graph.initializer:
        array = numpy_helper.to_array(initializer)
        stored = in_few_bits(array)
        if stored is None:
            initializers.append(initializer)
            continue
        parts, made_by = _unfolded(initializer.name, stored, array.dtype)
        initializers += parts
        nodes += made_by
    nodes += graph.node
    for noted in [*nodes, *graph.input, *graph.output, graph]:
        noted.doc_string = ""
        del noted.metadata_props[:]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(initializers)
    whole = list(nodes)
    del graph.node[:]
    graph.node.extend(whole)
    return model


def in_few_bits(array: Array) -> Stored | None:
    """What `array` is stored as, see above; None where that is itself."""
    if array.size < FEWEST:
        return None
    if np.issubdtype(array.dtype, np.integer):
        kinds = (np.int8, np.int16, np.int32)
        kind = next((kind for kind in kinds if (array.astype(kind) == array).all()), array.dtype)
        return Stored(array.astype(kind)) if np.dtype(kind).itemsize < array.dtype.itemsize else None
    if array.dtype != np.float32:
        return None
    for axis in (0, array.ndim - 1):
        stored = _in_8_bits(array, axis)
        if stored is not None:
            return stored
    half = array.astype(np.float16)
    return Stored(half) if (half.astype(np.float32) == array).all() else None


def _in_8_bits(array: Array, axis: int) -> Stored | None:
    """Numbers in 8 bits, a scale for each index of `axis`; None where that would not be the same."""
    if array.ndim < 2:
        return None
    others = tuple(other for other in range(array.ndim) if other != axis)
    largest = np.abs(array).max(axis=others, keepdims=True)
    scale = (np.maximum(largest, np.finfo(np.float32).tiny) / LARGEST).astype(np.float32)
    numbers = np.rint(array / scale).astype(np.int8)
    is_same = np.abs(numbers * scale - array) <= SAME * largest
    return Stored(numbers, scale) if is_same.all() else None


def _unfolded(
    name: str, stored: Stored, kind: np.dtype[Any]
) -> tuple[list[onnx.TensorProto], list[onnx.NodeProto]]:
    """The stored tensors, and the nodes that make a tensor `name` of the type `kind` of them."""
    from onnx import helper, numpy_helper

    to = helper.np_dtype_to_tensor_dtype(kind)
    parts = [numpy_helper.from_array(stored.numbers, f"{name}/stored")]
    if stored.scale is None:
        return parts, [helper.make_node("Cast", [f"{name}/stored"], [name], to=to)]
    parts.append(numpy_helper.from_array(stored.scale, f"{name}/scale"))
    cast = helper.make_node("Cast", [f"{name}/stored"], [f"{name}/unscaled"], to=to)
    return parts, [cast, helper.make_node("Mul", [f"{name}/unscaled", f"{name}/scale"], [name])]
