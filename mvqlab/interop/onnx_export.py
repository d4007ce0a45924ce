"""Models as ONNX files: the graphs of `onnx_graphs`, and a card that says what goes in and what comes out."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from mvqlab import __version__
from mvqlab.interop.onnx_graphs import Graph, graphs_of, scores_come_from_the_image
from mvqlab.interop.onnx_weights import shrink
from mvqlab.models.budgets import ThresholdMask
from mvqlab.models.dual_grain import DualGrainMask
from mvqlab.models.masked_parallel import MaskedParallel
from mvqlab.models.mqvae import MQVAE, TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.models.raster import RasterTransformer
from mvqlab.models.start import CaptionStart, ClassStart
from mvqlab.support.files import write_bytes_whole

OPSET = 18  # of ONNX: known to every runtime of the last years
NEEDED = ("onnx", "onnxscript")  # what torch's exporter needs


class ExportError(RuntimeError):
    """A model cannot be exported. The message says why, and what to do."""


def require_exporter() -> None:
    """Raise ExportError, which says how to install it, where what torch's exporter needs is missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ExportError(f"to export models takes {', '.join(missing)}: pip install 'mvqlab[web]'")


def export_graphs(model: TokenModel | PairModel, folder: Path) -> dict[str, Any]:
    """Write the graphs of `model`, an ONNX file each, to `folder`; returns their part of a card.

    That is, by file: bytes, inputs and outputs, each with its type and its shape, in which an axis of any
    length has a name. Raises ExportError, also for dual grain, where a region's code depends on its block.
    """
    require_exporter()
    if isinstance(model, MaskedParallel):
        raise ExportError(
            "transformer.model=masked_parallel is not exported: only models with a next pair are"
        )
    if isinstance(model, MQVAE) and isinstance(model.mask, DualGrainMask):
        raise ExportError(
            "mask.kind 'dual_grain' is not exported: graphs hold a code for every region, whatever is kept, "
            "and here a region's code depends on whether its block is fine"
        )
    return {
        f"{name}.onnx": _write(graph, folder / f"{name}.onnx") for name, graph in graphs_of(model).items()
    }


def export_card(model: TokenModel | PairModel, files: dict[str, Any]) -> dict[str, Any]:
    """What is known of an exported model: its kind and sizes, the opset, its `files`."""
    sizes = sizes_of_stage1(model) if isinstance(model, TokenModel) else sizes_of_stage2(model)
    versions = {"mvqlab": __version__, "torch": torch.__version__}
    return {**sizes, "opset": OPSET, "made_with": versions, "files": files}


def sizes_of_stage1(model: TokenModel) -> dict[str, Any]:
    """Kind and sizes of a stage-1 model, and what it keeps of an image.

    n_kept regions or, where each image has a budget of its own, those that score at least `threshold`.
    """
    sizes: dict[str, Any] = {
        "stage": 1,
        "kind": "mqvae" if isinstance(model, MQVAE) else "plain_vq",
        "resolution": model.config.data.resolution,
        "side": model.side,
        "codebook_size": model.codebook_size,
        "code_dim": model.codebook.shape[1],
        "n_kept": model.n_kept,
    }
    if not isinstance(model, MQVAE):
        return sizes
    sizes["mask"] = {"kind": model.config.mask.kind, "has_scores": scores_come_from_the_image(model)}
    if isinstance(model.mask, ThresholdMask):
        sizes["mask"]["threshold"] = float(model.mask.threshold)
    return sizes


def sizes_of_stage2(model: PairModel) -> dict[str, Any]:
    """Kind and sizes of a transformer, and what it is told.

    null: the condition that tells nothing, which guidance leads away from; None where it was taught none.
    """
    sizes: dict[str, Any] = {
        "stage": 2,
        "kind": "raster" if isinstance(model, RasterTransformer) else "stackformer",
        "predicts": list(model.predicts),
        "order": model.order,
        "has_end": model.has_end,
        "side": model.side,
        "n_pairs": model.n_pairs,
        "codebook_size": model.codebook_size,
        "condition": None,
    }
    start = model.start
    if isinstance(start, ClassStart):
        sizes |= {"condition": "class", "n_classes": start.n_classes}
        sizes["null"] = start.n_classes if start.has_null else None
    elif isinstance(start, CaptionStart):
        sizes |= {"condition": "caption", "caption_length": start.n_prefix, "null": start.null(1)[0].tolist()}
    return sizes


def _write(graph: Graph, path: Path) -> dict[str, Any]:
    """Trace a graph and write it, small, to `path`."""
    from onnx import TensorProto

    exported = shrink(_traced(graph))

    def described(value: Any) -> dict[str, Any]:
        tensor = value.type.tensor_type
        kind = TensorProto.DataType.Name(tensor.elem_type).lower()
        named = graph.lengths.get(value.name, {})
        sizes = enumerate(tensor.shape.dim)
        return {"type": kind, "shape": [named.get(axis, size.dim_value) for axis, size in sizes]}

    content = exported.SerializeToString()
    write_bytes_whole(path, content)
    return {
        "bytes": len(content),
        "inputs": {value.name: described(value) for value in exported.graph.input},
        "outputs": {value.name: described(value) for value in exported.graph.output},
    }


def _traced(graph: Graph) -> Any:
    """What torch's exporter makes of a graph, an `onnx.ModelProto`."""
    lengths = {
        name: dict.fromkeys(graph.lengths.get(name, {}), torch.export.Dim.DYNAMIC) for name in graph.inputs
    }
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program = torch.onnx.export(
            graph.module.eval(),
            kwargs=graph.inputs,
            input_names=list(graph.inputs),
            output_names=graph.outputs,
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=lengths if graph.lengths else None,
            verbose=False,
        )
    assert program is not None  # None where a path is given
    return program.model_proto
