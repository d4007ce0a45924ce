"""What pyproject.toml cannot say: notebooks, grids and kept results go into the wheel, links lead home."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
LAB_FILES = [path.as_posix() for path in runpy.run_path("mvqlab/support/lab.py")["lab_files"](HERE)]


class BuildWithLab(build_py):
    """The package with a copy of the lab's files in mvqlab/lab; with -e they are read where they lie."""

    def lab(self) -> dict[str, str]:
        """Each file's place in what is built, and its source."""
        if self.editable_mode:
            return {}
        return {f"{self.build_lib}/mvqlab/lab/{path}": path for path in LAB_FILES}

    def run(self) -> None:
        super().run()
        for built, source in self.lab().items():
            self.mkpath(str(Path(built).parent))
            self.copy_file(source, built)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), *self.lab()]

    def get_output_mapping(self) -> dict[str, str]:
        return {**super().get_output_mapping(), **self.lab()}

    def get_source_files(self) -> list[str]:
        return [*super().get_source_files(), *self.lab().values()]


def read_from_afar(readme: str, repository: str) -> str:
    """`readme` with its pictures and links, relative in the repository, as addresses in it."""
    readme = re.sub(r"(!\[[^\]]*\]\()(?!https?:)", rf"\1{repository}/raw/main/", readme)
    return re.sub(r"((?<!!)\[[^\]]*\]\()(?!https?:|#)", rf"\1{repository}/blob/main/", readme)


project = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
setup(
    cmdclass={"build_py": BuildWithLab},
    long_description=read_from_afar(
        (HERE / "README.md").read_text(encoding="utf-8"), project["urls"]["Repository"]
    ),
    long_description_content_type="text/markdown",
)
