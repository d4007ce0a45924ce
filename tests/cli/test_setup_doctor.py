"""The doctor reports what is missing or broken, and never stumbles over it."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from mvqlab.cli import doctor
from mvqlab.cli.doctor import Finding, Report


@pytest.fixture
def few_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the doctor look at two packages only: importing all of them takes seconds."""
    monkeypatch.setattr(doctor, "NEEDED_PACKAGES", {"numpy": "numpy", "pyyaml": "yaml"})
    monkeypatch.setattr(doctor, "OPTIONAL_PACKAGES", {})


def uninstall(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == package:
            raise PackageNotFoundError(name)
        return "1.2.3"

    monkeypatch.setattr(doctor, "version", version)


def finding(findings: list[Finding], name: str) -> Finding:
    [found] = [each for each in findings if each.name == name]
    return found


def test_a_needed_package_that_is_missing_is_a_fault(
    few_packages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    uninstall("pyyaml", monkeypatch)
    found = list(doctor.check_packages())
    assert finding(found, "pyyaml").state == "fault"
    assert "pip install" in finding(found, "pyyaml").text
    assert finding(found, "numpy") == Finding("ok", "numpy", "1.2.3")


def test_an_optional_package_that_is_missing_is_no_fault(
    few_packages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "OPTIONAL_PACKAGES", {"torch-fidelity": "torch_fidelity"})
    uninstall("torch-fidelity", monkeypatch)
    found = finding(list(doctor.check_packages()), "torch-fidelity")
    assert found.state == "absent"
    assert ".[inception]" in found.text, "it must say which extra brings the package"


def test_a_package_that_is_installed_but_broken_is_a_fault(
    few_packages: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken_numpy.py").write_text("raise OSError('libcuda.so.1: cannot open\\nshared object')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor, "NEEDED_PACKAGES", {"numpy": "broken_numpy"})
    found = finding(list(doctor.check_packages()), "numpy")
    assert found.state == "fault"
    assert "OSError: libcuda.so.1: cannot open shared object" in found.text


def test_an_old_python_is_a_fault(few_packages: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "OLDEST_PYTHON", (4, 0))
    assert finding(list(doctor.check_packages()), "python").state == "fault"


def test_weights_say_where_they_are_or_where_to_put_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "alexnet-owt-7be5be79.pth").touch()
    found = list(doctor.check_weights())
    assert finding(found, "LPIPS alex").state == "ok"
    missing = finding(found, "LPIPS vgg")
    assert missing.state == "absent"
    assert "vgg16-397923af.pth" in missing.text
    assert str(folder) in missing.text


def test_each_gpu_is_listed_with_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Properties:
        name = "A GPU"
        total_memory = 24 * 2**30

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Properties)
    gpus = [found for found in doctor.check_devices() if found.name.startswith("cuda")]
    assert gpus == [Finding("ok", f"cuda:{index}", "A GPU, 24 GiB") for index in range(3)]


def test_a_driver_that_torch_cannot_use_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_available() -> bool:
        import warnings

        warnings.warn("the driver is too old", UserWarning, stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    found = finding(list(doctor.check_devices()), "cuda")
    assert found.state == "absent"
    assert "the driver is too old" in found.text


def test_default_data_can_be_drawn_and_photographs_are_there() -> None:
    found = list(doctor.check_data())
    assert finding(found, "shapes").text.endswith("32 x 32")
    assert finding(found, "photos").text.startswith("9 photographs: chelsea")


def test_presets_say_what_they_want(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    found = list(doctor.check_presets())
    assert finding(found, "shapes32") == Finding("ok", "shapes32", "ready")
    wanting = finding(found, "imagenet256")
    assert wanting.state == "absent"
    assert "data/imagenet/ (data.root), LPIPS vgg, Inception v3" in wanting.text


def test_presets_say_which_data_have_to_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mvqlab.data.emoji.missing_packages", lambda: ["resvg-py"])
    monkeypatch.setenv("MVQLAB_CACHE", str(tmp_path))
    monkeypatch.setattr("mvqlab.data.fashion_files.DEBIAN_FOLDER", tmp_path / "absent")
    found = list(doctor.check_presets())
    assert finding(found, "emoji64") == Finding("absent", "emoji64", "wants emoji (pip install resvg-py)")
    assert finding(found, "fashion32").text == "wants fashion (mvqlab data get fashion)"
    assert finding(found, "simple32").state == "ok"
    assert finding(found, "anything64").text == "wants emoji (pip install resvg-py)"


def test_a_check_that_fails_is_a_fault_and_keeps_what_it_found(
    few_packages: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_devices():
        yield Finding("ok", "cpu", "2 cores")
        raise ImportError("no module named torch")

    monkeypatch.setattr(doctor, "check_devices", check_devices)
    found = doctor.report().sections["Devices"]
    assert found == [
        Finding("ok", "cpu", "2 cores"),
        Finding("fault", "devices", "ImportError: no module named torch"),
    ]


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("absent", 0), ("fault", 1)])
def test_exit_code_and_closing_line(
    state: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "report", lambda: Report({"Packages": [Finding(state, "lpips", "0.1")]}))
    assert doctor.main() == code
    closing = capsys.readouterr().out.splitlines()[-1]
    assert closing.startswith(
        "mvqlab cannot run here yet. To put right: lpips" if code else "mvqlab runs here"
    )


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # what `import torch` then raises is what it raises where torch is not installed
from mvqlab.cli import doctor
doctor.NEEDED_PACKAGES = {"torch": "torch"}
sys.exit(doctor.main())
"""


def test_the_report_comes_even_without_torch() -> None:
    """Most of mvqlab needs torch; the one command that says so must not."""
    ran = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=False)
    assert ran.returncode == 1, ran.stderr
    assert "Traceback" not in ran.stderr
    assert "FAULT   torch" in ran.stdout
    assert "Presets" in ran.stdout


@pytest.mark.slow
def test_all_is_well_where_the_tests_run() -> None:
    assert doctor.report().faults == []


def test_the_remedy_is_one_that_can_be_typed_where_mvqlab_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was installed from a wheel has neither constraints.txt nor a folder to install from."""
    monkeypatch.setattr(doctor, "NEEDED_PACKAGES", {"absent-package": "absent_package"})
    monkeypatch.setattr(doctor, "OPTIONAL_PACKAGES", {"absent-sphinx": "absent_sphinx"})
    monkeypatch.setattr(doctor, "EXTRAS", {"absent-sphinx": "book"})
    for is_copy, needed, optional in (
        (False, "-c constraints.txt -e '.'", "-c constraints.txt -e '.[book]'"),
        (True, "'mvqlab'", "'mvqlab[book]'"),
    ):
        monkeypatch.setattr(doctor, "IS_COPY", is_copy)
        _, *absent = doctor.check_packages()
        assert [one.text for one in absent] == [
            f"not installed: pip install {words}" for words in (needed, optional)
        ]
