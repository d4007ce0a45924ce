"""Weights of other packages: named as they name them, looked for where they look, never downloaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mvqlab.config import config_from_dict
from mvqlab.support import pretrained
from mvqlab.support.pretrained import MissingWeightsError
from mvqlab.support.torchvision_guard import import_torchvision


@pytest.fixture(autouse=True)
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of downloaded weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path


def test_files_carry_the_names_that_the_packages_ask_for() -> None:
    """A package that renames its file would otherwise send people after the wrong one."""
    import_torchvision()
    from torchvision.models import AlexNet_Weights, SqueezeNet1_1_Weights, VGG16_Weights

    assert pretrained.lpips_backbone("vgg").url == VGG16_Weights.IMAGENET1K_V1.url
    assert pretrained.lpips_backbone("alex").url == AlexNet_Weights.IMAGENET1K_V1.url
    assert pretrained.lpips_backbone("squeeze").url == SqueezeNet1_1_Weights.IMAGENET1K_V1.url


def test_inceptions_file_carries_the_name_that_torch_fidelity_asks_for() -> None:
    import_torchvision()
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    assert pretrained.inception().url == fidelity.URL_INCEPTION_V3


def test_files_belong_where_torch_keeps_them(torch_home: Path) -> None:
    """TORCH_HOME moves the folder; a hard-coded ~/.cache would miss it."""
    for file in pretrained.all_files():
        assert file.folder == torch_home / "hub" / "checkpoints"
        assert file.url.endswith("/" + file.filename)


def test_a_missing_file_says_what_to_put_where(torch_home: Path) -> None:
    file = pretrained.lpips_backbone("squeeze")
    with pytest.raises(MissingWeightsError) as caught:
        pretrained.require(file)
    for part in (
        "squeezenet1_1-b8a52dc0.pth",
        str(torch_home),
        "https://download.pytorch.org/models/squeezenet",
    ):
        assert part in str(caught.value)


def test_a_file_in_place_is_found_and_read() -> None:
    file = pretrained.inception()
    assert not file.is_there
    file.folder.mkdir(parents=True)
    torch.save({"weight": torch.arange(3.0)}, file.path)
    assert pretrained.require(file) == file.path
    assert pretrained.load(file)["weight"].tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"cut"])
def test_a_damaged_file_says_so(content: bytes) -> None:
    """A page saved under the name, or a download cut short, must not end in a bare pickle error."""
    file = pretrained.inception()
    file.folder.mkdir(parents=True)
    torch.save({"weight": torch.zeros(100)}, file.path)
    file.path.write_bytes(file.path.read_bytes()[:300] if content == b"cut" else content)
    with pytest.raises(MissingWeightsError, match=r"Delete it, fetch https://.*6726825d\.pth anew"):
        pretrained.load(file)


class _RunsCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("proof-that-code-ran"),)  # type: ignore[return-value]


def test_a_file_that_carries_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = pretrained.inception()
    file.folder.mkdir(parents=True)
    torch.save({"weight": _RunsCode()}, file.path)
    with pytest.raises(MissingWeightsError):
        pretrained.load(file)
    assert not Path("proof-that-code-ran").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_program_in_the_place_of_weights_is_named() -> None:
    file = pretrained.inception()
    file.folder.mkdir(parents=True)
    torch.jit.save(torch.jit.script(torch.nn.Identity()), file.path)
    with pytest.raises(MissingWeightsError, match=r"TorchScript archive .*fetch https://"):
        pretrained.load(file)


def test_unknown_backbones_are_refused() -> None:
    with pytest.raises(ValueError, match="known: vgg, alex, squeeze"):
        pretrained.lpips_backbone("random")


@pytest.mark.parametrize(
    ("loss", "column", "extractor", "expected"),
    [
        ("none", "random", "lab", []),
        ("vgg", "vgg", "lab", ["LPIPS vgg"]),
        ("vgg", "alex", "inception", ["LPIPS vgg", "LPIPS alex", "Inception v3"]),
        ("none", "none", ["judge", "inception"], ["Inception v3"]),
    ],
)
def test_a_config_names_the_files_that_it_needs(
    loss: str, column: str, extractor: str | list[str], expected: list[str]
) -> None:
    config = config_from_dict(
        {"loss": {"perceptual": loss}, "evaluation": {"lpips": column, "extractor": extractor}}
    )
    assert [file.name for file in pretrained.needed_by(config)] == expected


def test_all_missing_files_are_named_before_anything_starts(torch_home: Path) -> None:
    config = config_from_dict({"loss": {"perceptual": "vgg"}, "evaluation": {"extractor": "inception"}})
    with pytest.raises(MissingWeightsError) as caught:
        pretrained.require_all(config)
    assert "vgg16" in str(caught.value) and "weights-inception" in str(caught.value)
    for file in pretrained.needed_by(config):
        file.folder.mkdir(parents=True, exist_ok=True)
        file.path.touch()
    pretrained.require_all(config)
