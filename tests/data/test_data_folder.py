"""Folders of images: classes, splits, captions, and bad files that are found before training."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mvqlab.config import DataConfig
from mvqlab.data import DataError, Splits, batches, build_splits, checking
from mvqlab.data.dataset import DataWarning
from mvqlab.data.listing import held_out_names
from mvqlab.support.files import CACHE_VARIABLE


def fill(root: Path, *names: str) -> Path:
    """Images of one grey each, numbered in the order given, so that a reader can tell which is which."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (10, 9), (number, number, number)).save(path)
    return root


def config(root: Path, **changes: object) -> DataConfig:
    return DataConfig(name="folder", root=root, **{"resolution": 8, **changes})


def shown(splits: Splits) -> dict[str, int]:
    """File name -> grey of the picture that is handed out for it, over both splits."""
    return {
        name: int(dataset.picture(index).pixels[0, 4, 4])
        for dataset in (splits.train, splits.validation)
        for index, name in enumerate(dataset.names)
    }


def refusal(settings_: DataConfig) -> str:
    with pytest.raises(DataError) as caught:
        build_splits(settings_)
    return str(caught.value)


def test_a_flat_folder_has_no_labels_and_is_split(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(20)]
    splits = build_splits(config(fill(tmp_path, *names), validation_share=0.25))
    assert shown(splits) == {name: number for number, name in enumerate(names)}
    assert not set(splits.train.names) & set(splits.validation.names)
    assert splits.n_classes == 0 and splits.label_meaning == "" and splits.train[0]["label"] == -1
    assert splits.train[0]["importance"] is None


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    fill(tmp_path, *[f"{animal}/deep/{n}.png" for animal in ("dog", "ant", "cat") for n in range(6)])
    splits = build_splits(config(tmp_path, validation_share=0.3))
    assert splits.class_names == ["ant", "cat", "dog"] and splits.label_meaning == "folder"
    for dataset in (splits.train, splits.validation):
        for index, name in enumerate(dataset.names):
            assert splits.class_names[dataset[index]["label"]] == name.split("/")[0]


def test_images_beside_class_folders_leave_no_classes(tmp_path: Path) -> None:
    splits = build_splits(config(fill(tmp_path, "cat/a.png", "dog/b.png", "c.png")))
    assert splits.n_classes == 0 and len(shown(splits)) == 3


@pytest.mark.parametrize("held_out", ["val", "validation"])
def test_a_given_split_is_kept(tmp_path: Path, held_out: str) -> None:
    fill(tmp_path, "train/dog/1.png", "train/cat/2.png", f"{held_out}/dog/3.png", "test/dog/4.png")
    splits = build_splits(config(tmp_path))
    assert splits.train.names == ["train/cat/2.png", "train/dog/1.png"]
    assert splits.validation.names == [f"{held_out}/dog/3.png"]
    assert splits.class_names == ["cat", "dog"] and splits.validation[0]["label"] == 1
    assert shown(splits) == {"train/dog/1.png": 0, "train/cat/2.png": 1, f"{held_out}/dog/3.png": 2}


def test_held_out_classes_must_be_among_the_trained_ones(tmp_path: Path) -> None:
    fill(tmp_path, "train/dog/1.png", "val/wolf/2.png")
    assert "val has images of classes that" in refusal(config(tmp_path))
    assert "wolf" in refusal(config(tmp_path))


def test_a_train_folder_alone_is_refused_with_advice(tmp_path: Path) -> None:
    fill(tmp_path, "train/1.png", "train/2.png", "test/3.png")
    message = refusal(config(tmp_path))
    assert "train/ but none named val/" in message and f"data.root={tmp_path / 'train'}" in message


def test_train_may_be_the_name_of_a_class(tmp_path: Path) -> None:
    splits = build_splits(config(fill(tmp_path, "bus/1.png", "car/2.png", "train/3.png")))
    assert splits.class_names == ["bus", "car", "train"]


def test_the_split_follows_the_seed_and_outlives_new_files(tmp_path: Path) -> None:
    fill(tmp_path, *[f"{n}.png" for n in range(40)])
    settings_ = config(tmp_path, validation_share=0.2)
    before, again = build_splits(settings_), build_splits(settings_)
    other = build_splits(config(tmp_path, validation_share=0.2, seed=1))
    assert before.validation.names == again.validation.names != other.validation.names
    fill(tmp_path, *[f"new-{n}.png" for n in range(20)])
    after = build_splits(settings_)
    assert set(before.validation.names) <= set(after.validation.names)
    assert set(before.train.names) <= set(after.train.names)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 300), share=st.floats(0.001, 0.999), seed=st.integers(-3, 2**33))
def test_neither_split_is_ever_empty(n: int, share: float, seed: int) -> None:
    names = [f"{number}.jpg" for number in range(n)]
    held_out = held_out_names(names, share, seed)
    assert 0 < len(held_out) < n and held_out <= set(names)
    assert abs(len(held_out) - share * n) < 1 + 5 * np.sqrt(n * share * (1 - share))


def test_bad_files_stop_the_run_each_in_one_line(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "b.jpg", "c.png", "d.png")
    (tmp_path / "letter.png").write_text("dear all")
    (tmp_path / "b.jpg").write_bytes((tmp_path / "b.jpg").read_bytes()[:-40])
    Image.new("L", (1500, 1000)).save(tmp_path / "huge.png")
    message = refusal(config(tmp_path, max_megapixels=1.0))
    lines = message.splitlines()
    assert lines[0] == "3 of 6 images cannot be used:"
    assert [line.split(":")[0] for line in lines[1:4]] == [
        str(tmp_path / n) for n in ("b.jpg", "huge.png", "letter.png")
    ]
    assert "runcated" in lines[1] and "max_megapixels" in lines[2] and "not an image" in lines[3]
    assert "data.skip_bad=true" in lines[4]


def test_bad_files_are_skipped_and_counted_on_request(tmp_path: Path) -> None:
    fill(tmp_path, *[f"{n}.png" for n in range(8)])
    (tmp_path / "3.png").write_bytes(b"")
    with pytest.warns(DataWarning, match=r"(?s)1 of 8 images are skipped \(data\.skip_bad\).*3\.png: "):
        splits = build_splits(config(tmp_path, skip_bad=True))
    assert len(splits.train) + len(splits.validation) == 7
    assert len(splits.skipped) == 1 and str(tmp_path / "3.png") in splits.skipped[0]
    assert sorted(shown(splits).values()) == [0, 1, 2, 4, 5, 6, 7]
    one_epoch = next(batches(splits.train, len(splits.train), seed=0))
    assert len(one_epoch.images.unique(dim=0)) == len(splits.train), "training goes through all that is left"


def test_what_is_no_file_and_what_is_no_readable_image_is_named_or_skipped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a pipe (which was waited for), and folders and pictures that were passed over."""
    fill(tmp_path, *[f"{kind}/{n}.png" for kind in "ab" for n in range(4)], "a/locked/5.png")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    for name in ("b/phone.HEIC", "icon.svg"):  # the latter lies beside the classes, and is none itself
        (tmp_path / name).write_bytes(b"x")
    scandir = os.scandir

    def refusing(path: str) -> Iterator[os.DirEntry[str]]:
        # permissions do not bind root, who may run this test
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    message = refusal(config(tmp_path))
    for words in ("4 of 12", "locked: the folder cannot be read (Permission denied)", "pipe.png: is not a"):
        assert words in message
    assert "phone.HEIC: HEIC images are not read" in message and "icon.svg: SVG images" in message
    with pytest.warns(DataWarning, match="4 of 12 images are skipped"):
        splits = build_splits(config(tmp_path, skip_bad=True))
    assert len(splits.skipped) == 4 and len(shown(splits)) == 8 and splits.class_names == ["a", "b"]
    assert splits.n_ignored == 0


def test_a_class_that_nobody_can_look_into_is_not_lost(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "a/2.png")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.heic").write_bytes(b"x")
    for skip_bad in (False, True):
        message = refusal(config(tmp_path, skip_bad=skip_bad))
        assert "class folders without images: b" in message and "1.heic: HEIC images are not read" in message


def test_many_bad_files_are_counted_not_all_listed(tmp_path: Path) -> None:
    fill(tmp_path, "good.png")
    for number in range(30):
        (tmp_path / f"bad{number}.png").write_bytes(b"x")
    message = refusal(config(tmp_path))
    assert "30 of 31" in message and "... and 10 more" in message


def test_a_class_whose_images_are_all_bad_is_not_lost_silently(tmp_path: Path) -> None:
    fill(tmp_path, "cat/1.png", "cat/2.png", "dog/3.png")
    (tmp_path / "dog/3.png").write_bytes(b"x")
    assert "every image in the class folder dog is bad" in refusal(config(tmp_path, skip_bad=True))


def test_a_file_that_breaks_after_the_check_is_named(tmp_path: Path) -> None:
    splits = build_splits(config(fill(tmp_path, "1.png", "2.png", "3.png")))
    name = splits.train.names[0]
    (tmp_path / name).unlink()
    for workers in (0, 1):
        with pytest.raises(DataError, match=f"{name}: cannot be read") as caught:
            list(islice(batches(splits.train, 2, seed=0, workers=workers), 3))
        # else the loader is held until garbage collection, which takes its queues first and waits 5 s
        traceback.clear_frames(caught.value.__traceback__)


def test_other_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.PNG", "a/2.Jpg", ".thumbnails/x.png", "__MACOSX/a/y.png")
    for name in ("notes.txt", "a/1.json", "a/Thumbs.db", "a/._1.PNG", ".DS_Store"):
        (tmp_path / name).write_text("not an image")
    splits = build_splits(config(tmp_path))
    assert sorted(shown(splits)) == ["a/1.PNG", "a/2.Jpg"]
    assert splits.n_ignored == 3 and splits.class_names == ["a"] and splits.skipped == []


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", "1.png", "2.png")
    (tmp_path / "data").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "data" / "cat")
    os.symlink(tmp_path / "data", tmp_path / "elsewhere" / "round")
    assert sorted(shown(build_splits(config(tmp_path / "data")))) == ["cat/1.png", "cat/2.png"]


def test_a_link_to_nowhere_is_a_bad_file(tmp_path: Path) -> None:
    fill(tmp_path, "1.png", "2.png")
    os.symlink(tmp_path / "gone", tmp_path / "3.png")
    assert "3.png: cannot be read (No such file or directory)" in refusal(config(tmp_path))


def test_missing_empty_and_lonely_folders_are_named(tmp_path: Path) -> None:
    assert f"{tmp_path / 'nowhere'} does not exist" in refusal(config(tmp_path / "nowhere"))
    assert "holds no images (0 other files)" in refusal(config(tmp_path))
    (tmp_path / "notes.txt").write_text("")
    assert "holds no images (1 other files)" in refusal(config(tmp_path))
    assert "notes.txt is a file, not a folder" in refusal(config(tmp_path / "notes.txt"))
    fill(tmp_path, "1.png")
    assert "1 usable images cannot be split" in refusal(config(tmp_path))


def test_a_class_without_images_is_named(tmp_path: Path) -> None:
    fill(tmp_path, "cat/1.png", "dog/2.png")
    (tmp_path / "ant").mkdir()
    assert "class folders without images: ant" in refusal(config(tmp_path))
    fill(tmp_path / "two", "train/cat/1.png", "val/cat/2.png")
    (tmp_path / "two" / "train" / "bee").mkdir()
    assert "class folders without images: bee" in refusal(config(tmp_path / "two"))


def captioned(tmp_path: Path, table: str) -> DataConfig:
    fill(tmp_path / "images", "a/1.png", "a/2.png", "b/3.png")
    (tmp_path / "captions.csv").write_text(table, encoding="utf-8")
    return config(tmp_path / "images", captions=tmp_path / "captions.csv", uncaptioned_share=0.5)


def test_a_table_of_captions_may_lie_in_the_users_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    fill(tmp_path / "images", "1.png", "2.png")
    (tmp_path / "captions.csv").write_text("file,caption\n1.png,one\n2.png,two\n")
    splits = build_splits(config(Path("~/images"), captions=Path("~/captions.csv")))
    assert {*splits.train.captions, *splits.validation.captions} == {"one", "two"}


def test_captions_reach_their_images(tmp_path: Path) -> None:
    table = '\ufefffile,caption,by\na/2.png,"two, or so",me\n./b/3.png, drei Bäume ,du\n'
    with pytest.warns(DataWarning, match=r"1 of 3 images have no caption: a/1\.png"):
        splits = build_splits(captioned(tmp_path, table))
    found = {
        name: dataset[index]["caption"]
        for dataset in (splits.train, splits.validation)
        for index, name in enumerate(dataset.names)
    }
    assert found == {"a/1.png": "", "a/2.png": "two, or so", "b/3.png": "drei Bäume"}


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ("file,caption\na/1.png,x\na/9.png,y\n", "files that are not images under data.root: a/9.png"),
        ("name,text\na/1.png,x\n", "needs the columns 'file' and 'caption', has ['name', 'text']"),
        ("", "needs the columns 'file' and 'caption', has None"),
        ("file,caption\na/1.png,x\na/1.png,y\n", "1 files have more than one caption (a/1.png)"),
        ("file;caption\na/1.png;x\n", "set apart by semicolons"),
        ("file\tcaption\na/1.png\tx\n", "set apart by tabs"),
        ("file,caption,caption\na/1.png,x,y\n", "(each once)"),
        ('file,caption\na/1.png,"x\na/2.png,y\nb/3.png,z\n', "is every quote closed"),
        ('file,caption\na/1.png,"x\na/2.png,"y"\nb/3.png,z\n', "up to line 3"),
        ('file,caption\na/1.png,"x\na/2.png,y"\nb/3.png,z\n', "ends in line 3 holds other rows (a/2.png,y)"),
        ("file,caption\na/1.png,a red, small disc\n", "line 2 has 3 columns, the first line 2"),
        ("file,caption\na/1.png\n", "line 2 has 1 columns, too few"),
        ("file,caption\n,x\n", "line 2 has a caption and names no file"),
        ("file,caption\na/1.png,x\0\n", "has a NUL in line 2"),
        ("file,caption\na/1.png,x\na/2.png,\n", "2 of 3 images have no caption: a/2.png, b/3.png. These are"),
        ("file,caption\n", "3 of 3 images have no caption"),
    ],
)
def test_a_faulty_table_of_captions_is_refused(tmp_path: Path, table: str, complaint: str) -> None:
    assert complaint in refusal(captioned(tmp_path, table))


def test_a_missing_or_unreadable_table_is_named(tmp_path: Path) -> None:
    settings_ = captioned(tmp_path, "")
    (tmp_path / "captions.csv").write_bytes(b"file,caption\na/1.png,\xff\xfe\n")
    assert "captions.csv cannot be read" in refusal(settings_)
    (tmp_path / "captions.csv").write_text("file,caption\na/1.png,x\n", encoding="utf-16")
    assert "save the table as UTF-8" in refusal(settings_)
    (tmp_path / "captions.csv").unlink()
    assert "captions.csv cannot be read" in refusal(settings_)


def test_the_share_without_captions_that_stops_is_a_setting(tmp_path: Path) -> None:
    settings_ = captioned(tmp_path, "file,caption\na/1.png,x\n")
    assert "more than data.uncaptioned_share=0.5 allows" in refusal(settings_)
    with pytest.warns(DataWarning, match="2 of 3 images have no caption"):
        build_splits(settings_.model_copy(update={"uncaptioned_share": 0.7}))
    (tmp_path / "captions.csv").write_text("file,caption\na/1.png,x\na/2.png,y\n\nb/3.png,z\n")
    build_splits(settings_.model_copy(update={"uncaptioned_share": 0.0}))


def test_the_hash_names_files_and_settings(tmp_path: Path) -> None:
    fill(tmp_path, "1.png", "2.png", "3.png")
    first = build_splits(config(tmp_path)).data_hash
    assert build_splits(config(tmp_path, workers=4)).data_hash == first
    seen = {first}
    for changes in ({"resolution": 9}, {"seed": 1}, {"validation_share": 0.4}, {"flip": False}):
        seen.add(build_splits(config(tmp_path, **changes)).data_hash)
    os.utime(tmp_path / "2.png", ns=(1, 1))
    assert build_splits(config(tmp_path)).data_hash == first, "a copy is the same data, whenever it was made"
    Image.new("RGB", (5, 7), "teal").save(tmp_path / "2.png")
    seen.add(build_splits(config(tmp_path)).data_hash)
    fill(tmp_path, "4.png")
    seen.add(build_splits(config(tmp_path)).data_hash)
    assert len(seen) == 7


def test_a_large_folder_is_checked_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards the memory of checks: it must save the second reading, and never hide a file that changed."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(checking, "MANY", 3)
    monkeypatch.setenv("MVQLAB_QUIET", "1")
    root = fill(tmp_path / "images", "1.png", "2.png", "3.png", "4.png")
    (root / "4.png").write_bytes(b"x")
    read: list[str] = []
    check = checking.check_image
    monkeypatch.setattr(
        checking, "check_image", lambda path, limit: (read.append(path.name), check(path, limit))
    )
    settings_ = config(root, skip_bad=True)
    with pytest.warns(DataWarning):
        first = build_splits(settings_).skipped
        assert len(read) == 4 and len(first) == 1
        assert build_splits(settings_).skipped == first and len(read) == 4
        (root / "2.png").write_bytes(b"broken")
        assert len(build_splits(settings_).skipped) == 2 and len(read) == 8
        for kept in (tmp_path / "cache" / "checked").iterdir():
            kept.write_text("{half a fi")
        assert len(build_splits(settings_).skipped) == 2 and len(read) == 12


def test_a_cache_that_cannot_be_written_does_not_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "occupied").write_text("a file where the cache folder should be")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "occupied"))
    monkeypatch.setattr(checking, "MANY", 1)
    monkeypatch.setenv("MVQLAB_QUIET", "1")
    assert build_splits(config(fill(tmp_path / "images", "1.png", "2.png"))).skipped == []


def test_an_image_larger_than_pillow_likes_is_fine_within_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """Guards the settings' authority: Pillow warns, which here means raises, at a limit of its own."""
    fill(tmp_path, "1.png", "2.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 80)
    assert build_splits(config(tmp_path)).skipped == []
    assert not recwarn.list
