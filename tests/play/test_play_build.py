"""The page's parts, without its models: what it offers, what it says of a codebook, where it is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_runs import tiny_stage1

from mvqlab.cli.main import main
from mvqlab.data import DataError
from mvqlab.play import build, offered, vendored
from mvqlab.play.atlas_files import atlas_of
from mvqlab.widgets.coded_images import code_images

ROOM = Path(vendored.__file__).parent


def test_every_model_of_the_page_comes_along() -> None:
    names = ["simple_mqvae", "simple_stackformer", "emoji_mqvae"]
    shows = offered.offered(names)
    assert [one["model"] for one in shows.explorer] == ["emoji_mqvae", "simple_mqvae"]
    assert [one["model"] for one in shows.atlas] == ["emoji_mqvae"]
    [player] = shows.player
    assert (player["model"], player["stage1"]) == ("simple_stackformer", "simple_mqvae")
    assert player["beside"] is None
    assert sorted(shows.models) == sorted(names)
    [player] = offered.offered(["simple_stackformer", "simple_raster"]).player
    assert (player["beside"], player["stage1_beside"]) == ("simple_raster", "simple_plain_vq")
    assert player["title_beside"] == "raster transformer, trained for half the steps"


def test_a_model_without_its_images_is_left_out_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(config: object) -> None:
        raise DataError("there are no emoji")

    monkeypatch.setattr(offered, "build_splits", nowhere)
    shows = offered.offered(["emoji_mqvae", "emoji_stackformer"])
    assert shows.explorer == shows.atlas == [] and shows.left_out == ["emoji_mqvae: there are no emoji"]
    assert [one["model"] for one in shows.player] == ["emoji_stackformer"], "it draws without images"


def test_an_atlas_says_who_is_near_whom() -> None:
    coded = code_images(tiny_stage1(), 6)
    atlas = json.loads(json.dumps(atlas_of(coded)))
    codes = atlas["codes"]
    assert len(codes) == 16 and sum(one["count"] for one in codes) == atlas["n_regions"] == 6 * 8
    assert all(0 <= one[axis] <= 1 for one in codes for axis in "xy")
    busiest = int(coded.counts.argmax())
    for row, place, took_it in codes[busiest]["near"]:
        region = (coded.rows == row) & (coded.positions == place)
        assert bool(coded.codes[region] == busiest) == bool(took_it)
    distances = torch.cdist(coded.model.codebook[[busiest]], coded.features)[0]
    best = distances.where(coded.codes == busiest, torch.inf).argmin()
    assert codes[busiest]["near"][0] == [int(coded.rows[best]), int(coded.positions[best]), 1]
    for one in codes:
        takers = [took_it for _, _, took_it in one["near"]]
        assert takers == sorted(takers, reverse=True) and sum(takers) == min(one["count"], 8)
    assert [other for other, _ in codes[busiest]["neighbours"]] == [
        pair.second for pair in coded.neighbours(busiest, 6)
    ]


def test_the_lock_file_names_no_host() -> None:
    for name in vendored.MANIFESTS:
        assert "://" not in (ROOM / name).read_text()
    lock = json.loads((ROOM / "package-lock.json").read_text())["packages"]
    wanted = json.loads((ROOM / "package.json").read_text())["dependencies"][vendored.PACKAGE]
    assert lock[f"node_modules/{vendored.PACKAGE}"]["version"] == wanted
    assert all(one["integrity"] for name, one in lock.items() if name)


def test_the_sources_ask_no_host() -> None:
    for path in build.STATIC.rglob("*.*"):
        assert not re.search(r"https?://|//[a-z]+\.[a-z]", path.read_text()), f"{path.name} names a host"


@pytest.mark.parametrize(
    ("models", "said"), [(["emoji_mqva"], "emoji_mqvae"), (["simple_captions"], "none of these models")]
)
def test_what_cannot_be_shown_is_refused(
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    models: list[str],
    said: str,
) -> None:
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(build, "vendored_runtime", lambda: tmp_path)
    assert main(["play", "build", "--out", str(tmp_path / "page"), "--models", *models]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "page").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(build, "vendored_runtime", lambda: tmp_path)
    own = tmp_path / "site" / "index.html"
    own.parent.mkdir()
    own.write_text("by hand")
    for more in ([], ["--fresh"]):
        assert main(["play", "build", "--out", str(own.parent), "--models", "simple_mqvae", *more]) == 2
    assert own.read_text() == "by hand" and list(own.parent.iterdir()) == [own]


def test_a_page_that_was_cut_short_is_built_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript")
    for name in vendored.FILES:
        (tmp_path / name).touch()
    monkeypatch.setattr(build, "vendored_runtime", lambda: tmp_path)

    def cut_short(name: str, folder: Path, *, fresh: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "export_by_name", cut_short)
    command = ["play", "build", "--out", str(tmp_path / "page"), "--models", "simple_mqvae"]
    assert main(command) == 130 and not (tmp_path / "page" / build.PAGE).exists()
    assert main(command) == 2, "not unasked"
    monkeypatch.setattr(build, "export_by_name", lambda name, folder, *, fresh: None)
    of_another = tmp_path / "page" / "images" / "another_0.png"
    of_another.touch()
    assert main([*command, "--fresh"]) == 0 and (tmp_path / "page" / build.PAGE).exists()
    assert not of_another.exists() and list(of_another.parent.iterdir())


def test_without_npm_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVQLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(vendored.shutil, "which", lambda name: None)
    with pytest.raises(vendored.VendorError, match=r"install Node\.js"):
        vendored.vendored_runtime()


def test_what_the_cache_has_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVQLAB_CACHE", str(tmp_path))
    fetched = []

    def fetch(folder: Path) -> None:
        fetched.append(folder)
        for name in vendored.FILES:
            (folder / name).write_text("fetched")

    monkeypatch.setattr(vendored, "_fetch", fetch)
    first, again = vendored.vendored_runtime(), vendored.vendored_runtime()
    assert first == again and len(fetched) == 1
    assert sorted(path.name for path in first.iterdir()) == sorted(vendored.FILES)


def test_images_of_the_explorer_are_whole_files(tmp_path: Path) -> None:
    written = list(build._write_images("simple_mqvae", [{"number": 2}, {"number": 10**6}], tmp_path))
    assert [one["number"] for one in written] == [2], "a number beyond the images is passed over"
    with Image.open(tmp_path / written[0]["file"]) as image:
        assert image.size == (32, 32)
