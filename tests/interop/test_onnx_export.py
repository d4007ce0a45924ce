"""Exported graphs against the models that they were made of, run by ONNX Runtime."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import KINDS as ALL_KINDS
from tiny_runs import N_CLASSES, tiny_stage1, write_run

from mvqlab.interop.onnx_export import export_card, export_graphs
from mvqlab.interop.onnx_weights import in_few_bits
from mvqlab.models.mask_context import MaskContext
from mvqlab.models.mqvae import MQVAE, TokenModel
from mvqlab.models.pairs import Pairs
from mvqlab.training import load_stage1, load_stage2
from mvqlab.training.packed_weights import packed, unpacked

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

KINDS = [kind for kind in ALL_KINDS if kind != "masked_parallel"]  # which is refused in words
CLOSE = {"atol": 1e-4, "rtol": 0.0}
QUICK = "patches"  # the kind of stage 1 that every run of the tests exports: each takes seconds
STAGE1 = {
    "learned": [],
    "released scorer": ["mask.scorer=conv"],
    "patches": ["backbone.kind=patch", "backbone.base_channels=12", "backbone.block=depthwise"],
    "budgets": ["mask.budget=threshold"],
    "no demask": ["demask.kind=none"],
    "renormalised": ["demask.renormalise=true"],
    "random": ["mask.kind=random"],
    "variance, weighed": ["mask.kind=variance", "mask.product=score"],
    "plain": ["mask.kind=none", "mask.mask_ratio=0"],
    "finite scalars": ["quantizer.kind=fsq"],
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[MQVAE, Path, dict[str, Any]]:
    """A tiny MQ-VAE, its graphs, and what is known of them."""
    model, folder = tiny_stage1(*STAGE1[QUICK]), tmp_path_factory.mktemp("exported")
    assert isinstance(model, MQVAE)
    return model, folder, export_graphs(model, folder)


def run(folder: Path, graph: str, **inputs: Any) -> list[torch.Tensor]:
    """What ONNX Runtime makes of `inputs` by a graph in `folder`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / f"{graph}.onnx", options)
    arrays = {name: value.numpy() for name, value in inputs.items()}
    return [torch.from_numpy(output) for output in session.run(None, arrays)]


def check_stage1(model: TokenModel, folder: Path, has_scores: bool = True) -> None:
    """Hold scores, features, codes and image of a random image against the model's own."""
    image = torch.rand(1, 3, 16, 16) * 2.0 - 1.0
    with torch.no_grad():
        kept = model.select(image, MaskContext(generator=torch.Generator().manual_seed(0)))
        encoding = model.encode(image, generator=torch.Generator().manual_seed(0))
        restored = model.decode(encoding.pairs)
    *scores, features, codes = run(folder, "encode", image=image)
    assert bool(scores) == has_scores
    if scores:
        torch.testing.assert_close(scores[0], kept.scores, **CLOSE)
    is_real = encoding.positions[0] < model.n_positions
    places = encoding.positions[0][is_real]
    torch.testing.assert_close(features[0][places], kept.features[0][is_real], **CLOSE)
    assert codes[0][places].tolist() == encoding.codes[0][is_real].tolist()
    inputs = {"codes": codes} | ({"is_kept": encoding.is_kept} if isinstance(model, MQVAE) else {})
    (image_again,) = run(folder, "restore", **inputs)
    torch.testing.assert_close(image_again, restored, **CLOSE)


def test_a_stage_1_computes_the_same_in_both_runtimes(exported: tuple[MQVAE, Path, dict[str, Any]]) -> None:
    model, folder, _ = exported
    check_stage1(model, folder)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in STAGE1 if kind != QUICK])
def test_all_kinds_of_stage_1_compute_the_same_in_both_runtimes(tmp_path: Path, kind: str) -> None:
    model = tiny_stage1(*STAGE1[kind])
    export_graphs(model, tmp_path)
    check_stage1(model, tmp_path, has_scores=kind not in ("plain", "random"))


def test_a_code_of_a_dropped_region_is_not_read(exported: tuple[MQVAE, Path, dict[str, Any]]) -> None:
    folder = exported[1]
    is_kept = torch.zeros(1, 16, dtype=torch.bool).index_fill(1, torch.tensor([3, 4, 11]), True)
    codes = torch.randint(16, (1, 16), dtype=torch.int32)
    (restored,) = run(folder, "restore", codes=codes, is_kept=is_kept)
    (again,) = run(folder, "restore", codes=codes.where(is_kept, 0), is_kept=is_kept)
    (other,) = run(folder, "restore", codes=(codes + is_kept).remainder(16).int(), is_kept=is_kept)
    assert restored.equal(again) and not restored.equal(other)


EXPORT = """import sys
from mvqlab.cli.main import main
for folder in sys.argv[1:]:
    assert main(["export", folder + "/stage2", "--stage1", folder + "/stage1", "--out", folder + "/out"]) == 0
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of every kind with its export, made by the command in a process without the checks of shapes.

    What checks them takes the batch that a graph is traced with for the only one.
    """
    folder = tmp_path_factory.mktemp("runs")
    for kind in KINDS:
        write_run(folder / kind, kind)
    subprocess.run([sys.executable, "-c", EXPORT, *(str(folder / kind) for kind in KINDS)], check=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_a_transformer_computes_the_same_in_both_runtimes(runs: Path, kind: str) -> None:
    """With no pair, one, and all but one: a length that was taken for a constant would show."""
    folder = runs / kind / "out"
    model = load_stage2(runs / kind / "stage2", load_stage1(runs / kind / "stage1"))
    card = json.loads((folder / "card.json").read_text())
    assert card["predicts"] == list(model.predicts) and card["n_pairs"] == model.n_pairs
    conditions = None
    if kind in ("classes", "told_always"):
        conditions = torch.tensor([1, N_CLASSES - 1, 0])
    elif kind == "captions":
        conditions = model.start.null(3)
        conditions[1, 1:4] = torch.tensor([5, 9, 2])
    told = {} if conditions is None else {"conditions": conditions.int()}
    first, *second = model.predicts
    for n in (0, 1, model.n_pairs - 1):
        positions = torch.rand(3, 16).argsort(1)[:, : n + 1].sort(1).values
        if kind == "raster":
            positions = torch.arange(n + 1).expand(3, -1)
        pairs = Pairs(torch.randint(16, (3, n + 1)), positions, model.side)
        wanted = model(pairs, conditions)
        inputs = {"codes": pairs.codes[:, :-1].int(), "positions": pairs.positions[:, :-1].int()}
        if kind == "raster":
            del inputs["positions"]
        logits, *states = run(folder, first, **inputs, **told)
        torch.testing.assert_close(logits, wanted.of(first)[:, -1], **CLOSE)
        for part in second:
            inputs = {"states": states[0], "codes" if first == "code" else "positions": pairs.of(first).int()}
            inputs |= told if kind == "captions" else {}
            (logits,) = run(folder, part, **inputs)
            torch.testing.assert_close(logits, wanted.of(part)[:, -1], **CLOSE)


def test_a_card_says_what_goes_in_and_what_comes_out(exported: tuple[MQVAE, Path, dict[str, Any]]) -> None:
    model, folder, files = exported
    card = export_card(model, files)
    assert json.loads(json.dumps(card)) == card
    assert (card["kind"], card["side"], card["n_kept"], card["opset"]) == ("mqvae", 4, 8, 18)
    restore = card["files"]["restore.onnx"]
    assert restore["bytes"] == (folder / "restore.onnx").stat().st_size
    assert restore["inputs"] == {
        "codes": {"type": "int32", "shape": [1, 16]},
        "is_kept": {"type": "bool", "shape": [1, 16]},
    }
    assert restore["outputs"] == {"image": {"type": "float", "shape": [1, 3, 16, 16]}}


def test_weights_are_stored_in_as_few_bits_as_say_the_same() -> None:
    weights = torch.randn(24, 5, 7)
    eight = unpacked(packed({"w": weights}))["w"].numpy()
    columns = np.ascontiguousarray(eight.reshape(24, 35).T)
    for array in (eight, columns):
        stored = in_few_bits(array)
        assert stored is not None and stored.numbers.dtype == np.int8
        np.testing.assert_allclose(stored.numbers * stored.scale, array, rtol=1e-6, atol=1e-9)
    half = in_few_bits(weights.half().float().numpy())
    assert half is not None and half.numbers.dtype == np.float16 and half.scale is None
    assert in_few_bits(weights.numpy()) is None, "32 bits that 16 do not say are left alone"
    places = in_few_bits(np.arange(300, dtype=np.int64))
    assert places is not None and places.numbers.dtype == np.int16
    zeros = in_few_bits(np.zeros((20, 20), dtype=np.float32))
    assert zeros is not None and not zeros.numbers.any()
