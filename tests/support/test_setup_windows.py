"""What only POSIX has is on the way of no import and of no command: as near as Linux comes to Windows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from grid_files import write_grid

# What others import is imported first: they know which system they are on, and would not find it again.
WITHOUT = """
import contextlib, importlib, io, os, pkgutil, signal, sys
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
for name in ("fork", "forkpty", "killpg", "setsid", "getuid", "geteuid", "sched_getaffinity", "uname"):
    delattr(os, name)
for name in ("SIGKILL", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGHUP", "setitimer", "pthread_kill"):
    delattr(signal, name)

for name in names():
    importlib.import_module(name)
from mvqlab.cli.main import main
for words in ARGUMENTS:
    try:
        code = main(words)
    except SystemExit as end:
        code = end.code
    assert code == 0, (words, code)
print("as on Windows")
"""
COMMANDS = [
    "grid",
    "train",
    "sample",
    "course",
    "data",
    "results",
    "explore",
    "import-official",
    "bench",
    "gpu",
]


@pytest.mark.slow
def test_every_module_and_command_does_without_what_only_posix_has(tmp_path: Path) -> None:
    grid = str(write_grid(tmp_path, points=[{"steps": 1}]))
    arguments = [[name, "--help"] for name in COMMANDS] + [["presets"], ["grid", "columns"]]
    arguments += [["grid", "plan", grid], ["grid", "status", grid], ["grid", "run-one", grid, "--index", "0"]]
    arguments += [["grid", "status", grid], ["grid", "table", grid]]
    code = WITHOUT.replace("{needs_triton}", "{'mvqlab.sampling.fused_kernels'}")
    code = code.replace("ARGUMENTS", repr(arguments))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("as on Windows\n")
