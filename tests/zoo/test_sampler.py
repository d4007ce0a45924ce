"""`mvqlab.sample` and its command: what was asked for, to the bit, or said why not."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_runs import KINDS, N_CLASSES, N_PAIRS, SIDE, write_run

import mvqlab
from mvqlab.cli.main import main
from mvqlab.config import ConfigError
from mvqlab.data import fashion
from mvqlab.data.dataset import DataError
from mvqlab.models.caption_tokenizer import CaptionWarning
from mvqlab.models.pairs import Pairs
from mvqlab.support.one_thread import one_thread
from mvqlab.training.tokens import order_pairs
from mvqlab.zoo import by_name
from mvqlab.zoo.drawn import MOST_ON_SHEET, Drawn, SampleError
from mvqlab.zoo.shipped import shipped_card, shipped_config, shipped_names
from mvqlab.zoo.trained import load_trained

IMAGE = (torch.arange(3 * 16 * 16).reshape(3, 16, 16) * 37 % 256).to(torch.uint8)
LEFT_HALF = (0, 0, SIDE, SIDE // 2)
PLAIN = sorted(set(KINDS) - {"captions", "told_always"})


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    """Tiny untrained runs of every kind, as `mvqlab.sample` takes them."""
    made = {kind: write_run(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}
    return {kind: {"stage1": stage1, "model": stage2} for kind, (stage1, stage2) in made.items()}


def picture_in(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def same(one: Drawn, other: Drawn) -> bool:
    pairs = torch.equal(one.pairs.codes, other.pairs.codes)
    return pairs and torch.equal(one.pairs.positions, other.pairs.positions) and images_equal(one, other)


def images_equal(one: Drawn, other: Drawn) -> bool:
    return torch.equal(one.images, other.images)


def pairs_of(drawn: Pairs, row: int) -> dict[int, int]:
    """Code by position."""
    n = int(drawn.lengths[row])
    return dict(zip(drawn.positions[row, :n].tolist(), drawn.codes[row, :n].tolist(), strict=True))


def test_an_image_is_the_same_to_the_bit_however_images_are_split(
    runs: dict[str, dict[str, Path]],
) -> None:
    """Against images that depend on how many are drawn with them, as from one generator for a batch."""

    @cache
    def whole(kind: str, completes: bool) -> Drawn:
        part = {"complete": IMAGE, "keep": LEFT_HALF} if completes else {}
        return mvqlab.sample(24, seed=4, **runs[kind], **part)

    @settings(max_examples=10)
    @given(
        kind=st.sampled_from(PLAIN),
        completes=st.booleans(),
        cuts=st.lists(st.integers(1, 23), max_size=3, unique=True),
    )
    def check(kind: str, completes: bool, cuts: list[int]) -> None:
        part = {"complete": IMAGE, "keep": LEFT_HALF} if completes else {}
        ends = [0, *sorted(cuts), 24]
        for first, end in itertools.pairwise(ends):
            rows = slice(first, end)
            drawn = mvqlab.sample(end - first, seed=4, first=first, **runs[kind], **part)
            assert torch.equal(drawn.images, whole(kind, completes).images[rows])
            expected = whole(kind, completes).pairs[rows].trimmed()
            assert torch.equal(drawn.pairs.trimmed().codes, expected.codes)
            assert torch.equal(drawn.pairs.trimmed().positions, expected.positions)

    check()
    for kind in PLAIN:
        codes = whole(kind, False).pairs.codes
        assert len({tuple(row) for row in codes.tolist()}) > 20, "images and blocks do not repeat"
    other = mvqlab.sample(24, seed=5, **runs["code_first"])
    assert not images_equal(other, whole("code_first", False))


@pytest.mark.parametrize("kind", PLAIN)
def test_a_completion_keeps_its_part_and_the_rules(kind: str, runs: dict[str, dict[str, Path]]) -> None:
    trained = load_trained(**runs[kind])
    image = IMAGE.float().div(127.5).sub(1.0)
    kept = order_pairs(trained.stage1.encode(image[None]), trained.model.order)
    wanted = {place: code for place, code in pairs_of(kept, 0).items() if place % SIDE < SIDE // 2}
    drawn = mvqlab.sample(5, complete=image, keep=LEFT_HALF, **runs[kind])
    numbers = {"raster": {16}, "budgets": set(range(len(wanted), 17))}.get(kind, {N_PAIRS})
    assert wanted
    for row in range(5):
        pairs = pairs_of(drawn.pairs, row)
        assert len(pairs) == drawn.pairs.lengths[row] and len(pairs) in numbers
        assert {place: code for place, code in pairs.items() if place % SIDE < SIDE // 2} == wanted
        if kind not in ("score_order", "any_order"):
            assert torch.tensor(list(pairs)).diff().gt(0).all()
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[:, : SIDE // 2] = True
    for region in (mask, mask.tolist(), list(LEFT_HALF)):
        assert same(drawn, mvqlab.sample(5, complete=IMAGE, keep=region, **runs[kind]))


@pytest.mark.parametrize(
    ("kind", "asked"),
    [("code_first", {"parallel_steps": 3}), ("masked_parallel", {"position_top_k": 2})],
)
def test_settings_that_the_model_does_not_read_are_refused(
    kind: str, asked: dict[str, int], runs: dict[str, dict[str, Path]]
) -> None:
    with pytest.raises(SampleError, match=next(iter(asked))):
        mvqlab.sample(1, **asked, **runs[kind])
    drawn = mvqlab.sample(2, **runs[kind])
    assert same(drawn, mvqlab.sample(**drawn.asked))  # which names them all, as the model has them


def test_what_is_written_draws_the_same_again(runs: dict[str, dict[str, Path]], tmp_path: Path) -> None:
    mask = torch.ones(SIDE, SIDE, dtype=torch.bool)
    mask[1, 2] = mask[3] = False
    Image.fromarray(IMAGE.permute(1, 2, 0).numpy()).save(tmp_path / "mine.png")
    for number, asked in enumerate(
        [
            {"seed": 3, "first": 7, "temperature": 0.7, "code_top_k": 5, "position_top_p": 0.8},
            {"class_name": "ring", "code_guidance": 3.0},
            {"complete": IMAGE, "keep": mask},
            {"complete": tmp_path / "mine.png", "keep": LEFT_HALF, "guidance": 2.0},
            {"class_name": np.str_("ring"), "seed": np.int64(3), "temperature": np.float32(0.5)},
            {"first": np.uint8(2), "complete": IMAGE, "keep": np.array(LEFT_HALF, np.int32)},
        ]
    ):
        drawn = mvqlab.sample(3, **runs["classes"], **asked)
        drawn.save(tmp_path / str(number))
        (tmp_path / "mine.png").touch()
        text = (tmp_path / str(number) / "asked.yaml").read_text()
        assert f"torch {torch.__version__}" in text
        assert same(drawn, mvqlab.sample(**yaml.safe_load(text)))


def test_what_is_asked_for_reaches_the_sampler(runs: dict[str, dict[str, Path]]) -> None:
    greedy = mvqlab.sample(2, temperature=0, **runs["code_first"])
    assert torch.equal(greedy.images[0], greedy.images[1])
    each = mvqlab.sample(N_CLASSES + 1, temperature=0, **runs["classes"])
    assert torch.equal(each.images[0], each.images[N_CLASSES]), "each class in turn"
    for number, name in enumerate(["disc", "square", "triangle", "ring"]):
        by_name = mvqlab.sample(1, class_name=name, temperature=0, **runs["classes"])
        for written in (number, str(number)):
            assert same(by_name, mvqlab.sample(1, class_name=written, temperature=0, **runs["classes"]))
        assert torch.equal(by_name.images[0], each.images[number])
    plain, both, codes = (
        mvqlab.sample(4, **runs["classes"], **weights)
        for weights in ({}, {"guidance": 4.0}, {"guidance": 4.0, "position_guidance": 1.0})
    )
    assert not same(plain, both) and not same(both, codes)
    assert (both.asked["code_guidance"], both.asked["position_guidance"]) == (4.0, 4.0)
    assert (codes.asked["code_guidance"], codes.asked["position_guidance"]) == (4.0, 1.0)


def test_captions_are_heard_and_what_they_cannot_say_is_told(runs: dict[str, dict[str, Path]]) -> None:
    of = runs["captions"]
    plain = mvqlab.sample(4, **of)
    assert plain.remarks == []
    with pytest.warns(CaptionWarning, match="the caption is empty: images are drawn as without one"):
        assert same(plain, mvqlab.sample(4, caption="  ", **of))
    red = mvqlab.sample(4, caption="a red disc", **of)
    assert red.remarks == [] and not same(red, plain)
    with pytest.warns(CaptionWarning, match="no training caption had the words turquoise"):
        mvqlab.sample(1, caption="a turquoise disc", **of)
    with pytest.warns(CaptionWarning, match="the caption has no words in it"):
        mvqlab.sample(1, caption="☃ !", **of)
    with pytest.warns(CaptionWarning, match="too long, its end is not read") as told:
        mvqlab.sample(1, caption="a red disc and " * 60, **of)
    assert len(str(told[0].message)) < 150, "the end of an endless caption is not repeated whole"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            {"model": "stackfromer"},
            "no shipped model 'stackfromer'; there are .*fashion_raster, fashion_stack",
        ),
        ({"model": "fashion_mqvae"}, "'fashion_mqvae' is a stage 1, which draws nothing by itself"),
        ({"stage1": "results/mine"}, "comes with its own stage 1, fashion_mqvae: give no other"),
        ({"n": 0}, "n goes from 1 to"),
        ({"caption": "a boot"}, "fashion_stackformer takes no caption; .*captions does"),
        ({"class_name": "moon"}, "no class 'moon': there are t-shirt, trouser"),
        ({"model": "emoji_stackformer", "class_name": "sneaker"}, "no class 'sneaker': there are Smileys"),
        ({"class_name": ""}, "no class '': there are t-shirt, trouser"),
        ({"class_name": "10"}, "no class 10: they go from 0 to 9"),
        ({"class_name": -1}, "no class -1: they go from 0 to 9"),
        ({"keep": (0, 0, 8, 4)}, "needs both an image to complete and the region"),
        ({"complete": torch.zeros(3, 32, 32), "keep": (0, 0, 9, 4)}, "reaches beyond the 8 x 8 regions"),
        ({"complete": torch.zeros(3, 32, 32), "keep": (0, 0, 9)}, r"keep takes a box \(top, left"),
        ({"complete": torch.zeros(3, 32, 32), "keep": (0, 0, 8.0, 4)}, r"keep takes a box \(top, left"),
        ({"complete": torch.zeros(3, 32, 32), "keep": "left"}, "keep: "),
        ({"complete": torch.zeros(3, 32, 32), "keep": torch.ones(4, 16).bool()}, r"mask \(8, 8\) bool"),
        ({"complete": torch.zeros(3, 64, 64), "keep": (0, 0, 8, 4)}, r"must be \(3, 32, 32\), not \(3, 64"),
    ],
)
def test_what_cannot_be_drawn_is_said(asked: dict, words: str) -> None:
    with pytest.raises(SampleError, match=words):
        mvqlab.sample(**asked)


def test_runs_that_do_not_fit_are_said(runs: dict[str, dict[str, Path]]) -> None:
    with pytest.raises(SampleError, match="stage2 cannot be guided: this model never saw"):
        mvqlab.sample(guidance=2.0, **runs["told_always"])
    with pytest.raises(SampleError, match="stage2 cannot be guided: this model is unconditional"):
        mvqlab.sample(guidance=2.0, **runs["code_first"])
    with pytest.raises(SampleError, match=r"stage2 takes no class; .*fashion_stackformer.* do$"):
        mvqlab.sample(class_name="ring", **runs["code_first"])
    with pytest.raises(SampleError, match="give the folder of the stage 1"):
        mvqlab.sample(model=runs["classes"]["model"])
    with pytest.raises(ConfigError, match=r"describe another stage 1 than the one given.*mask\.kind=none"):
        mvqlab.sample(model=runs["code_first"]["model"], stage1=runs["raster"]["stage1"])


def test_a_class_whose_name_is_digits_goes_by_its_name(
    runs: dict[str, dict[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders 1, 2, 10 sort as 1, 10, 2: the second is not what is meant by 1."""
    names = sorted(str(number) for number in (1, 2, 3, 10, 20, 30, 40, 50))
    monkeypatch.setattr(by_name, "class_names_of", lambda folder, config: names)
    trained = load_trained(**runs["classes"])
    asked = ["1", "10", "50", "0", 1]
    assert [by_name._class_number(trained, one, 8) for one in asked] == [0, 1, 7, 0, 1]
    with pytest.raises(SampleError, match="no class 9"):
        by_name._class_number(trained, "9", 8)

    def nowhere(*_: object) -> None:
        raise DataError("no images here")

    monkeypatch.setattr(by_name, "class_names_of", nowhere)
    assert by_name._class_number(trained, "1", 8) == 1


def test_names_of_garments_need_no_garments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sneaker is drawn, by the model's own settings, on a machine that never had Fashion-MNIST."""

    def nowhere(*_: object) -> None:
        raise DataError("no garments here")

    monkeypatch.setattr(fashion, "provide", nowhere)
    drawn = mvqlab.sample(1, class_name="sneaker")
    assert same(drawn, mvqlab.sample(1, class_name=7))
    own = shipped_config("fashion_stackformer").sampling.model_dump(mode="json")
    assert own.items() <= drawn.asked.items()
    assert (own["code_top_k"], own["code_top_p"], own["position_top_k"], own["position_top_p"]) == (
        0,
        1,
        0,
        1,
    )


def test_settings_and_files_are_checked_before_anything_is_drawn() -> None:
    with pytest.raises(ConfigError, match=r"sampling.temprature: unknown setting.*sampling.temperature"):
        mvqlab.sample(temprature=1.0)
    with pytest.raises(ConfigError, match=r"sampling.code_top_p"):
        mvqlab.sample(code_top_p=1.5)
    with pytest.raises(DataError, match=r"there is no image nowhere\.png"):
        mvqlab.sample(complete="nowhere.png", keep=(0, 0, 8, 4))


class TestFolder:
    @staticmethod
    def drawn(n: int = 2, first: int = 0) -> Drawn:
        images = torch.randint(0, 256, (n, 3, 8, 8), dtype=torch.uint8)
        pairs = Pairs(torch.zeros(n, 1).long(), torch.zeros(n, 1).long(), 4)
        return Drawn(images, pairs, {"n": n, "model": "none", "seed": 0, "first": first})

    def test_files_that_are_not_samples_are_left_alone(self, tmp_path: Path) -> None:
        """Against pictures of one's own that were deleted because their names began like those of samples."""
        for name in ("image_holiday.png", "image_1.png", "notes.txt"):
            (tmp_path / name).write_text("mine")
        self.drawn().save(tmp_path)
        self.drawn(1, first=5).save(tmp_path, fresh=True)
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"image_holiday.png", "image_1.png", "notes.txt", "image_0005.png"} | {
            "contact_sheet.png",
            "pairs.npz",
            "asked.yaml",
        }
        assert (tmp_path / "image_1.png").read_text() == "mine"

    def test_pictures_of_the_same_names_are_not_replaced_unasked(self, tmp_path: Path) -> None:
        (tmp_path / "image_0001.png").write_text("mine")
        with pytest.raises(SampleError, match=r"holds samples already \(image_0001.png\): .*--fresh"):
            self.drawn().save(tmp_path)
        assert (tmp_path / "image_0001.png").read_text() == "mine"

    def test_samples_are_whole_or_the_old_ones(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        old = self.drawn(3)
        old.save(tmp_path)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

        def full_disk(*_: object, **__: object) -> None:
            raise OSError("no space left on device")

        monkeypatch.setattr(np, "savez_compressed", full_disk)
        with pytest.raises(OSError, match="no space"):
            self.drawn(2).save(tmp_path, fresh=True)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    def test_old_samples_go_after_the_new_ones_have_come(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Against old samples that were removed before the first of the new ones stood in their place."""
        self.drawn(3).save(tmp_path)
        before = {path.name for path in tmp_path.iterdir()}

        def refused(*_: object) -> None:
            raise PermissionError("not here")

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", refused)
            with pytest.raises(PermissionError):
                self.drawn(2).save(tmp_path, fresh=True)
        assert {path.name for path in tmp_path.iterdir()} == before
        self.drawn(2).save(tmp_path, fresh=True)
        assert {path.name for path in tmp_path.iterdir()} == before - {"image_0002.png"}

    def test_a_file_is_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for folder in (tmp_path / "file", tmp_path / "file" / "inside"):
            with pytest.raises(SampleError, match="is no folder"):
                self.drawn().save(folder)

    def test_a_contact_sheet_has_an_end(self) -> None:
        """20 columns and 20 rows of 8 pixels with 2 between them."""
        assert MOST_ON_SHEET == 400
        assert self.drawn(1000).contact_sheet().shape == (3 * 202, 3 * 202, 3)
        three = self.drawn(3)
        sheet = three.contact_sheet()  # 22 pixels, each a square of 24
        assert sheet.shape == (24 * 22, 24 * 22, 3)
        pixels = sheet[::24, ::24]
        assert np.array_equal(np.kron(pixels, np.ones((24, 24, 1))), sheet), "enlarged without blur"
        assert (pixels[12:20, 12:20] == 255).all()
        assert np.array_equal(pixels[12:20, 2:10], three.images[2].permute(1, 2, 0).numpy())

    def test_it_prints_as_a_line_and_a_notebook_shows_it(self) -> None:
        """A dataclass prints its tensors."""
        assert "3 images of 8 x 8" in repr(self.drawn(3)) and "tensor" not in repr(self.drawn(3))
        with Image.open(io.BytesIO(self.drawn(3)._repr_png_())) as shown:
            assert shown.size == (24 * 22, 24 * 22)


def test_the_command_writes_all_and_replaces_nothing_unasked(
    runs: dict[str, dict[str, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, of = tmp_path / "drawn", runs["captions"]
    command = ["sample", "-n", "3", "--model", str(of["model"]), "--stage1", str(of["stage1"])]
    command += ["--caption", "a plaid disc", "--seed", "2", "--first", "5", "--code-top-k", "9"]
    command += ["--out", str(out)]
    assert main(command) == 0
    said = capsys.readouterr()
    assert str(out / "contact_sheet.png") in said.out
    assert "mvqlab: no training caption had the words plaid" in said.err
    assert sorted(path.name for path in out.glob("image_*")) == [f"image_000{n}.png" for n in (5, 6, 7)]
    with pytest.warns(CaptionWarning):
        drawn = mvqlab.sample(3, caption="a plaid disc", seed=2, first=5, code_top_k=9, **of)
    assert np.array_equal(picture_in(out / "image_0006.png"), drawn.images[1].permute(1, 2, 0).numpy())
    with np.load(out / "pairs.npz") as pairs:
        assert np.array_equal(pairs["codes"], drawn.pairs.codes.numpy()) and int(pairs["side"]) == SIDE
        assert np.array_equal(pairs["positions"], drawn.pairs.positions.numpy())
    assert yaml.safe_load((out / "asked.yaml").read_text()) == drawn.asked
    assert main(command) == 2
    assert "--fresh" in capsys.readouterr().err
    assert main([*command, "--fresh", "-n", "1"]) == 0
    assert [path.name for path in out.glob("image_*")] == ["image_0005.png"]
    assert main(["sample", "--model", "no_such_model", "--out", str(out)]) == 2
    assert "no shipped model 'no_such_model'" in capsys.readouterr().err, "what is asked for is checked first"
    assert main(["sample", "--keep", "1,2", "--out", str(tmp_path / "x")]) == 2
    assert re.search(r"--keep takes top,left,bottom,right", capsys.readouterr().err)


def test_the_command_draws_again_and_again_each_time_to_a_new_place(
    runs: dict[str, dict[str, Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    of = runs["captions"]
    command = ["sample", "-n", "1", "--model", str(of["model"]), "--stage1", str(of["stage1"])]
    assert [main([*command, "--seed", str(seed)]) for seed in range(3)] == [0, 0, 0]
    sheets = ["samples-2/contact_sheet.png", "samples-3/contact_sheet.png", "samples/contact_sheet.png"]
    assert sorted(str(path.relative_to("results")) for path in Path("results").glob("*/*sheet*")) == sheets
    assert main([*command, "--fresh"]) == 2
    assert "--out" in capsys.readouterr().err, "which of them it replaces has to be said"


def test_a_name_that_is_taken_while_it_draws_costs_no_drawing(
    runs: dict[str, dict[str, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a second `mvqlab sample` beside a first one, which both found the same name free."""
    monkeypatch.chdir(tmp_path)
    of = runs["captions"]
    draw = by_name._draw

    def while_another_saves(*given: object) -> object:
        drawn = draw(*given)
        Path("results/samples").mkdir(parents=True)
        Path("results/samples/asked.yaml").write_text("another's")
        return drawn

    monkeypatch.setattr(by_name, "_draw", while_another_saves)
    assert main(["sample", "-n", "1", "--model", str(of["model"]), "--stage1", str(of["stage1"])]) == 0
    assert Path("results/samples/asked.yaml").read_text() == "another's"
    assert Path("results/samples-2/contact_sheet.png").exists()


def test_the_names_of_the_models_stand_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["sample", "--help"])
    words = capsys.readouterr().out
    drawing = [name for name in shipped_names() if shipped_card(name)["stage"] == 2]
    assert drawing and all(name in words for name in drawing)


@pytest.mark.slow
def test_the_command_draws_with_a_shipped_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A boot again and again, then around the left half of the first: its pairs are there in each."""
    boots = [
        "sample",
        "-n",
        "4",
        "--model",
        "fashion_stackformer",
        "--class",
        "ankle boot",
        "--guidance",
        "2",
    ]
    assert main([*boots, "--out", str(tmp_path / "boots")]) == 0
    given = tmp_path / "boots" / "image_0000.png"
    around = ["--complete", str(given), "--keep", "0,0,8,4", "--out", str(tmp_path / "around")]
    assert main([*boots, *around]) == 0
    assert str(tmp_path / "around" / "contact_sheet.png") in capsys.readouterr().out
    assert np.array_equal(picture_in(tmp_path / "around" / "given.png"), picture_in(given))
    assert picture_in(tmp_path / "around" / "contact_sheet.png").shape == (
        5 * (2 * 34 + 2),
        5 * (3 * 34 + 2),
        3,
    )
    trained = load_trained("fashion_stackformer")
    image = torch.tensor(picture_in(given)).permute(2, 0, 1).float().div(127.5).sub(1.0)
    kept = pairs_of(trained.stage1.encode(image[None]).pairs, 0)
    kept = {place: code for place, code in kept.items() if place % 8 < 4}
    with np.load(tmp_path / "around" / "pairs.npz") as pairs:
        for codes, positions in zip(pairs["codes"], pairs["positions"], strict=True):
            assert {p: c for p, c in zip(positions, codes, strict=True) if p % 8 < 4} == kept
    again = mvqlab.sample(**yaml.safe_load((tmp_path / "around" / "asked.yaml").read_text()))
    drawn = picture_in(tmp_path / "around" / "image_0003.png")
    assert np.array_equal(drawn, again.images[3].permute(1, 2, 0).numpy())
