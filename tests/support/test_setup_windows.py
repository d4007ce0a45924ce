"""What only POSIX has is on the way of no import and of no command: as near as Linux comes to Windows."""

from __future__ import annotations

import argparse
import ast
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from grid_files import write_grid

from mvqlab.cli.main import build_parser
from mvqlab.grid.process import stop, terminate_like_interrupt
from mvqlab.support import process_groups
from mvqlab.support.locks import HeldError, held, is_held

ROOT = Path(__file__).parents[2]

# What others import is imported first: they know which system they are on, and would not find it again.
WITHOUT = """
import contextlib, importlib, io, os, pkgutil, signal, sys, warnings
import mvqlab

def names():
    return [module.name for module in pkgutil.walk_packages(mvqlab.__path__, "mvqlab.")
            if not module.name.endswith("__main__") and module.name not in {needs_triton}]

for name in names():
    importlib.import_module(name)
for name in [name for name in sys.modules if name.split(".")[0] == "mvqlab"]:
    del sys.modules[name]
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "curses", "syslog"):
    sys.modules[name] = None
for name in ("fork", "forkpty", "killpg", "setsid", "getuid", "geteuid", "getpgid", "getpgrp", "setpgid",
             "nice", "sched_getaffinity", "uname", "statvfs", "mkfifo", "getloadavg", "sysconf"):
    delattr(os, name)
for name in ("SIGKILL", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGHUP", "setitimer", "pthread_kill"):
    delattr(signal, name)

for name in names():
    importlib.import_module(name)
from mvqlab.cli.main import main
# text is UTF-8 wherever mvqlab writes it; a redirected console there speaks its own alphabet, see ENCODING
warnings.filterwarnings("error", category=EncodingWarning, module=r"mvqlab\\.")
for words in ARGUMENTS:
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    assert code == 0, (words, code)
print("as on Windows")
"""
ENCODING = "cp1252"


def commands() -> list[str]:
    """All that are there."""
    [choices] = [one for one in build_parser()._actions if isinstance(one, argparse._SubParsersAction)]
    return list(choices.choices)


@pytest.mark.slow
def test_every_module_and_command_does_without_what_only_posix_has(tmp_path: Path) -> None:
    grid = str(write_grid(tmp_path, points=[{"steps": 1}]))
    arguments = [[name, "--help"] for name in commands()] + [["presets"], ["grid", "columns"], ["doctor"]]
    arguments += [["data", "list"], ["results", "list"], ["verdicts"], ["sample", "-n", "1"]]
    arguments += [["course", "init", "course", "--lecturer"], ["grid", "plan", "quickstart"]]
    lesson = "course/notebooks/00_start_here.ipynb"
    arguments += [["course", "solve", lesson, "solved.ipynb"], ["results", "make", "order"]]
    arguments += [["grid", "plan", grid], ["grid", "status", grid], ["grid", "run-one", grid, "--index", "0"]]
    arguments += [["grid", "status", grid], ["grid", "table", grid]]
    code = WITHOUT.replace("{needs_triton}", "{'mvqlab.sampling.fused_kernels'}")
    code = code.replace("ARGUMENTS", repr(arguments))
    command = [sys.executable, "-X", "warn_default_encoding", "-c", code]
    encoded = os.environ | {"PYTHONIOENCODING": ENCODING}
    ended = subprocess.run(command, capture_output=True, encoding=ENCODING, cwd=tmp_path, env=encoded)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("as on Windows\n")


def test_text_is_read_and_written_in_utf8() -> None:
    """Where nothing is said, Windows takes the alphabet of the country."""
    sources = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "mvqlab").rglob("*.py"))}
    unsaid = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path, source in sources.items()
        if "open(" in source or "_text(" in source
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call)
        and opens_text(call)
        and "encoding" not in {k.arg for k in call.keywords}
    ]
    assert unsaid == []


def opens_text(call: ast.Call) -> bool:
    is_method = isinstance(call.func, ast.Attribute)
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name != "open":
        return name in ("read_text", "write_text")
    if len(call.args) < 2 - is_method:
        return True
    mode = call.args[1 - is_method]  # of a path's method it comes first; others' have a name there
    return isinstance(mode, ast.Constant) and isinstance(mode.value, str) and set(mode.value) <= set("rwax+")


@pytest.fixture
def without_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows: a process leads no group that one signal reaches."""
    monkeypatch.setattr(process_groups, "os", SimpleNamespace(name="nt"))


@pytest.mark.usefixtures("without_groups")
@pytest.mark.parametrize(("hears", "ending"), [(True, signal.SIGTERM), (False, signal.SIGKILL)])
def test_processes_are_stopped_where_there_are_no_groups(hears: bool, ending: signal.Signals) -> None:
    deaf = "" if hears else "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    code = f"import signal, time; {deaf} print('up', flush=True); time.sleep(600)"
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, **process_groups.own_group())
    assert process.stdout is not None and process.stdout.readline()
    stop(process, grace=600.0 if hears else 0.1)
    process.stdout.close()
    assert process.returncode == -ending


def test_what_asks_a_process_to_stop_on_windows_interrupts_like_ctrl_c(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By itself SIGBREAK ends a process at once, and its point would not say that it was stopped."""
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR1, raising=False)
    with terminate_like_interrupt():
        answer = signal.getsignal(signal.SIGUSR1)
        assert callable(answer)
        with pytest.raises(KeyboardInterrupt):
            answer(signal.SIGUSR1, None)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_a_lock_holds_where_a_locked_file_can_neither_be_read_nor_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    monkeypatch.setattr(Path, "read_text", refuse)
    with held(tmp_path / ".lock", "it is busy"):
        assert is_held(tmp_path / ".lock")
        with pytest.raises(HeldError, match=r"it is busy$"), held(tmp_path / ".lock", "it is busy", 0.1):
            pass
    assert not is_held(tmp_path / ".lock")
