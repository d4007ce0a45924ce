"""`mvqlab.sample` and its command: what was asked for, to the bit, or said why not."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import mvqlab
from mvqlab.cli import main
from mvqlab.config import ConfigError
from mvqlab.data.samples import DataError
from mvqlab.drawn import SampleError
from mvqlab.sampler import load_trained
from mvqlab.training.tokens import order_pairs


def picture_in(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.slow
def test_an_image_is_the_same_to_the_bit_whatever_is_drawn_with_it() -> None:
    """Blocks of sixteen begin at 0 and 16: the splits below cut through them and join them."""
    whole = mvqlab.sample(20, "stackformer_short", seed=4)
    for first, n in [(0, 1), (3, 5), (14, 4), (19, 1)]:
        part = mvqlab.sample(n, "stackformer_short", seed=4, first=first)
        rows = slice(first, first + n)
        assert torch.equal(part.images, whole.images[rows])
        assert torch.equal(part.pairs.codes, whole.pairs.codes[rows])
    other = mvqlab.sample(20, "stackformer_short", seed=5)
    assert not torch.equal(whole.images, other.images)
    assert not torch.equal(whole.pairs.codes[0], whole.pairs.codes[16])  # blocks do not repeat


@pytest.mark.slow
def test_what_is_asked_for_reaches_the_sampler() -> None:
    greedy = mvqlab.sample(2, "stackformer_short", temperature=0)
    assert torch.equal(greedy.images[0], greedy.images[1])
    assert greedy.asked["sampling"]["temperature"] == 0
    classes = mvqlab.sample(3, "stackformer_classes", guidance=4.0)
    assert classes.asked["class"] == "each in turn"
    ring = mvqlab.sample(3, "stackformer_classes", class_name="ring", guidance=4.0)
    assert torch.equal(
        ring.images, mvqlab.sample(3, "stackformer_classes", class_name=3, guidance=4.0).images
    )
    assert not torch.equal(ring.images, classes.images)


@pytest.mark.slow
def test_captions_are_heard_and_remarked_on() -> None:
    plain = mvqlab.sample(2, "stackformer_captions")
    assert plain.remarks == []
    empty = mvqlab.sample(2, "stackformer_captions", caption="  ")
    assert "empty" in empty.remarks[0] and torch.equal(empty.images, plain.images)
    red = mvqlab.sample(2, "stackformer_captions", caption="a red disc")
    assert red.remarks == [] and not torch.equal(red.images, plain.images)
    odd = mvqlab.sample(2, "stackformer_captions", caption="a turquoise disc " + "and a red bar " * 30)
    assert "turquoise" in odd.remarks[0] and "too long" in odd.remarks[1]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["stackformer", "raster"])
def test_a_completion_keeps_its_part(model: str, tmp_path: Path) -> None:
    trained = load_trained(model)
    image = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2.0 - 1.0
    drawn = mvqlab.sample(3, model, complete=image, keep=(0, 0, 8, 4))
    kept = order_pairs(trained.stage1.encode(image[None]), "raster")
    in_left_half = {
        (position, code)
        for position, code in zip(kept.positions[0].tolist(), kept.codes[0].tolist(), strict=True)
        if position % 8 < 4
    }
    for positions, codes in zip(drawn.pairs.positions.tolist(), drawn.pairs.codes.tolist(), strict=True):
        pairs = set(zip(positions, codes, strict=True))
        assert {pair for pair in pairs if pair[0] % 8 < 4} == in_left_half
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[:, :4] = True
    assert torch.equal(mvqlab.sample(3, model, complete=image, keep=mask).images, drawn.images)
    drawn.save(tmp_path)
    assert picture_in(tmp_path / "contact_sheet.png").shape == (2 * 34 + 2, 3 * 34 + 2, 3)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"model": "stackfromer"}, "no shipped model 'stackfromer'; there are raster, stackf"),
        ({"model": "mqvae"}, "'mqvae' is a stage 1, which draws nothing by itself"),
        ({"stage1": "results/mine"}, "comes with its own stage 1, mqvae: give no other"),
        ({"n": 0}, "n must be at least 1"),
        ({"class_name": "ring"}, "stackformer takes no class; stackformer_classes does"),
        ({"caption": "a ring"}, "stackformer takes no caption; stackformer_captions does"),
        ({"guidance": 2.0}, "stackformer is told nothing"),
        ({"model": "stackformer_classes", "class_name": "moon"}, "no class 'moon': there are disc, square"),
        ({"model": "stackformer_classes", "class_name": "8"}, "no class 8: they go from 0 to 7"),
        ({"model": "stackformer_classes", "class_name": -1}, "no class -1: they go from 0 to 7"),
        (
            {"complete": torch.zeros(3, 16, 16), "keep": (0, 0, 8, 4)},
            r"must be \(3, 32, 32\), not",
        ),
        ({"complete": torch.zeros(3, 32, 32), "keep": torch.ones(4, 4)}, "region has 16 places"),
        ({"keep": (0, 0, 8, 4)}, "needs both an image to complete and the region"),
        ({"complete": torch.zeros(3, 32, 32), "keep": (0, 0, 9, 4)}, "reaches beyond the 8 x 8 regions"),
        ({"complete": torch.zeros(3, 32, 32), "keep": (0, 0, 9)}, "box"),
    ],
)
def test_what_cannot_be_drawn_is_said(asked: dict, words: str) -> None:
    with pytest.raises(SampleError, match=words):
        mvqlab.sample(**asked)


def test_settings_and_files_are_checked_before_anything_is_drawn(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sampling.temprature: unknown setting.*sampling.temperature"):
        mvqlab.sample(temprature=1.0)
    with pytest.raises(ConfigError, match=r"sampling.code_top_p"):
        mvqlab.sample(code_top_p=1.5)
    with pytest.raises(DataError, match=r"there is no image nowhere\.png"):
        mvqlab.sample(complete="nowhere.png", keep=(0, 0, 8, 4))


def test_the_command_writes_all_and_replaces_nothing_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "drawn"
    command = ["sample", "-n", "3", "--model", "stackformer_captions", "--caption", "a plaid disc"]
    command += ["--seed", "2", "--first", "5", "--code-top-k", "20", "--out", str(out)]
    assert main(command) == 0
    said = capsys.readouterr()
    assert str(out / "contact_sheet.png") in said.out and "plaid" in said.err
    assert sorted(path.name for path in out.glob("image_*")) == [f"image_000{n}.png" for n in (5, 6, 7)]
    drawn = mvqlab.sample(3, "stackformer_captions", caption="a plaid disc", seed=2, first=5, code_top_k=20)
    assert np.array_equal(picture_in(out / "image_0006.png"), drawn.images[1].permute(1, 2, 0).numpy())
    with np.load(out / "pairs.npz") as pairs:
        assert np.array_equal(pairs["codes"], drawn.pairs.codes.numpy()) and int(pairs["side"]) == 8
    assert yaml.safe_load((out / "asked.yaml").read_text()) == drawn.asked
    assert main(command) == 2
    assert "holds samples already: --fresh" in capsys.readouterr().err
    assert main([*command, "--fresh", "-n", "1"]) == 0
    assert [path.name for path in out.glob("image_*")] == ["image_0005.png"]
    assert main(["sample", "--keep", "1,2", "--out", str(tmp_path / "x")]) == 2
    assert re.search(r"--keep takes top,left,bottom,right", capsys.readouterr().err)
