"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mvqlab.support import files
from mvqlab.support.files import (
    InTheWayError,
    check_nothing_in_the_way,
    free_name,
    temporary_folder,
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
        "import os, sys; from mvqlab.support.files import whole_file\n"
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


KILLED = """
import os, signal, sys
from pathlib import Path
from mvqlab.support.files import temporary_folder, whole_file
folder = Path(sys.argv[1])
with whole_file(folder / "weights.bin") as file, temporary_folder(folder) as others:
    file.write_bytes(b"half")
    (others / "image.png").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_leaves_goes_with_the_next_write_and_what_a_living_one_writes_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    left = names_in(tmp_path)
    assert len(left) == 2 and all(name.startswith(".mvqlab-") for name in left)
    with whole_file(tmp_path / "other.bin") as ours:
        monkeypatch.setattr(files, "_next_look", {})  # as another process would
        ours.write_bytes(b"")
        write_bytes_whole(tmp_path / "weights.bin", b"whole")
        assert names_in(tmp_path) == [ours.name, "weights.bin"]


def test_a_temporary_file_of_another_machine_is_left_until_it_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.socket, "gethostname", lambda: "elsewhere")
    with whole_file(tmp_path / "x.bin") as theirs:
        theirs.write_bytes(b"of a machine whose processes we do not know")
        os.link(theirs, tmp_path / "kept")
        os.link(tmp_path / "kept", tmp_path / theirs.name.replace(str(os.getpid()), "1"))
    monkeypatch.undo()
    (left,) = [path for path in tmp_path.iterdir() if path.name.startswith(".mvqlab-")]
    monkeypatch.setattr(files, "_next_look", {})
    write_text_whole(tmp_path / "a", "")
    assert left.exists()
    os.utime(left, (0, 0))
    monkeypatch.setattr(files, "_next_look", {})
    write_text_whole(tmp_path / "b", "")
    assert not left.exists()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError(
            "[enforce fail at inline_container.cc:672] . unexpected pos. PytorchStreamWriter failed"
        ),
        ValueError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_named_whoever_found_it_and_nothing_changes(tmp_path: Path, error: Exception) -> None:
    path = tmp_path / "state.pt"
    path.write_text("old")
    with pytest.raises(OSError, match=r"state\.pt") as raised, whole_file(path) as temporary:
        temporary.write_text("half")
        raise error
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(path))
    assert (names_in(tmp_path), path.read_text()) == (["state.pt"], "old")


def test_trouble_with_another_file_keeps_that_file_s_name(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match="source"), whole_file(tmp_path / "copy") as temporary:
        temporary.write_text("")
        raise PermissionError(errno.EACCES, "Permission denied", "source")


def test_a_name_of_the_longest_kind_can_be_written(tmp_path: Path) -> None:
    write_text_whole(tmp_path / ("ä" * 125 + ".csv"), "x")
    assert len(names_in(tmp_path)) == 1


def test_a_temporary_folder_is_gone_afterwards(tmp_path: Path) -> None:
    with temporary_folder(tmp_path / "out") as temporary:
        (temporary / "a.png").write_text("x")
        (temporary / "a.png").replace(tmp_path / "out" / "a.png")
    assert names_in(tmp_path / "out") == ["a.png"]


def _abandon(folder: Path, process: int) -> Path:
    """A temporary file in `folder` as the process of that number on this machine would call it."""
    with whole_file(folder / "x.bin") as ours:
        ours.write_bytes(b"half")
        left = folder / f"{ours.name.replace(f'-{os.getpid()}-', f'-{process}-')}.left"
        os.link(ours, left)
    return left


def test_a_folder_is_looked_through_again_and_again(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for _ in range(2):
        left = _abandon(tmp_path, dead.pid)
        wait_for_the_next_look(tmp_path)
        write_text_whole(tmp_path / "a", "")
        assert not left.exists()


def wait_for_the_next_look(folder: Path) -> None:
    time.sleep(max(0.0, files._next_look.get(folder, 0.0) - time.monotonic()))


def test_a_number_given_anew_protects_no_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container every program has the same few numbers: a file older than its process is not its own."""
    left = _abandon(tmp_path, os.getpid())
    wait_for_the_next_look(tmp_path)
    write_text_whole(tmp_path / "a", "")
    assert left.exists(), "as old as this process: it may still be written"
    monkeypatch.setattr(files.psutil.Process, "create_time", lambda process: time.time() + 3600)
    wait_for_the_next_look(tmp_path)
    write_text_whole(tmp_path / "b", "")
    assert not left.exists()


@pytest.mark.skipif(not Path("/proc/self/ns/pid").exists(), reason="only Linux has namespaces")
def test_another_container_of_the_same_name_is_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its processes have numbers of their own, and a living one would be taken for dead."""
    here = files._machine()
    monkeypatch.setattr(files.os, "readlink", lambda path: "pid:[1]")
    assert files._machine() != here
