"""What of the repository goes with the library: notebooks, grids, and the results that are kept.

In the repository they lie in its own folders; a wheel carries a copy inside the package, which setup.py puts
there. Whoever reads one of them asks here, and need not know which of the two it is.
"""

from __future__ import annotations

from pathlib import Path

COPY = Path(__file__).resolve().parents[1] / "lab"  # only in what was installed from a wheel
IS_COPY = COPY.is_dir()
LAB = COPY if IS_COPY else COPY.parents[1]  # holds notebooks/, ablations/ and results/

FILES = (  # for all
    "notebooks/*.ipynb",
    "notebooks/README.md",
    "ablations/*.*",
    "ablations/protocol/*.yaml",
    "results/*.md",
    "results/reference/*.*",
    "results/log/*.md",
    "results/gpu/*.md",
)
LECTURERS_FILES = ("notebooks/LECTURER.md", "notebooks/solutions/*.py", "notebooks/book/**/*.*")
LAID_OUT = ".mvqlab"  # marks a folder that `mvqlab course init` has filled: its grids' results go there


def lab_files(lab: Path = LAB, lecturer: bool = True) -> list[Path]:
    """The files that go with the library, relative to `lab`; without `lecturer` those for students."""
    patterns = FILES + LECTURERS_FILES * lecturer
    found = (path.relative_to(lab) for pattern in patterns for path in lab.glob(pattern) if path.is_file())
    return sorted(path for path in found if not any(part.startswith((".", "__")) for part in path.parts))


def here_or_in_lab(path: str | Path) -> Path:
    """`path`, or what lies in the lab by that name where nothing does as seen from the current folder."""
    in_lab = LAB / path
    return in_lab if in_lab.exists() and not Path(path).exists() else Path(path)
