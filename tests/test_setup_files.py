"""Files are written whole or not at all."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mvqlab.files import (
    InTheWayError,
    check_nothing_in_the_way,
    free_name,
    whole_file,
    write_bytes_whole,
    write_text_whole,
)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_is_utf8_in_folders_that_are_made(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "7" / "note.txt"
    write_text_whole(path, "σ = ½\n")
    assert path.read_bytes() == b"\xcf\x83 = \xc2\xbd\n"
    assert names_in(path.parent) == ["note.txt"], "a temporary file was left behind"


def test_bytes_replace_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"a much longer old content")
    write_bytes_whole(path, b"\x00new")
    assert path.read_bytes() == b"\x00new"


def test_old_content_stays_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_failing_block_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), whole_file(path) as temporary:
        temporary.write_text("half of the n")
        1 / 0  # noqa: B018
    assert path.read_text() == "old"
    assert names_in(tmp_path) == ["table.csv"], "a temporary file was left behind"


def test_a_failing_move_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError):
        write_text_whole(tmp_path / "table.csv", "a,b\n")
    assert names_in(tmp_path) == []


def test_a_killed_process_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    path.write_text("old")
    code = (
        "import os, sys; from mvqlab.files import whole_file\n"
        "with whole_file(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 9
    assert path.read_text() == "old"


def test_temporary_path_suits_writers_that_go_by_folder_and_suffix(tmp_path: Path) -> None:
    with whole_file(tmp_path / "figure.tar.gz") as temporary:
        assert temporary.parent == tmp_path, "os.replace cannot move between disks"
        assert temporary.suffixes == [".tar", ".gz"], "numpy and matplotlib go by the suffix"
        assert temporary.name.startswith("."), "an unfinished file must not turn up in *.gz"
        temporary.write_text("")


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "forgotten.csv"):
        pass
    assert names_in(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    """tempfile's files are for the owner alone: results on a shared disk would be closed to colleagues."""
    before = os.umask(0o022)
    try:
        write_text_whole(tmp_path / "shared.csv", "a,b\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "shared.csv").stat().st_mode) == 0o644


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
def test_devices_and_pipes_are_never_replaced(tmp_path: Path) -> None:
    """Guards against a file in the place of /dev/null, where somebody who may do anything writes to that."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InTheWayError, match="no ordinary file"):
        write_text_whole(tmp_path / "pipe", "a,b\n")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_names_that_are_taken_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "grades.csv"
    for name in ("grades.csv", "grades-2.csv", "grades-3.csv"):
        assert free_name(path) == tmp_path / name
        (tmp_path / name).touch()


def test_an_empty_folder_is_in_nobody_s_way(tmp_path: Path) -> None:
    check_nothing_in_the_way(tmp_path, "go elsewhere")
    check_nothing_in_the_way(tmp_path / "new", "go elsewhere")
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(InTheWayError, match="go elsewhere"):
            check_nothing_in_the_way(path, "go elsewhere")
