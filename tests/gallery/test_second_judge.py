"""Runs of a grid before a judge of another kind: each once, as its weights draw, beside real images."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from tiny_runs import write_run
from torch import Tensor

from mvqlab.config import EvaluationConfig
from mvqlab.data import batches_in_order, build_splits
from mvqlab.evaluation.samples.distances import features_of, frechet_distance
from mvqlab.evaluation.samples.feature_extractor import FeatureExtractor
from mvqlab.gallery import of_grids, second_judge
from mvqlab.gallery.asked import Asked, KeptError
from mvqlab.grid.report import Collected
from mvqlab.sampling import sample_images
from mvqlab.zoo.trained import load_trained

GRID = "protocol_some"  # of those that are kept as they fill
YARDSTICKS = ["real", "greyed", "hue turned", "blurred", "shuffled", "after stage 1"]


class Colours(FeatureExtractor):
    """The mean of each colour, which counts the images that it has seen."""

    n_seen = 0

    def __init__(self) -> None:
        super().__init__("colours", "efficientnet", 3)

    def forward(self, images: Tensor) -> Tensor:
        Colours.n_seen += len(images)
        return images.float().mean(dim=(2, 3))


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """A grid of three points, of which one has run and one runs, and whose yardsticks are kept."""
    stage1, _ = write_run(tmp_path, "classes")
    table = pd.DataFrame({"variant": ["a", "b", "b"], "seed": [0, 0, 1], "point": ["one", "two", "three"]})
    folders = [str(stage1.parent), str(tmp_path / "begun"), None]
    table = table.assign(status=["done", "running", "waiting"], folder=folders)
    table = table.assign(fid_judge=[3.0, None, None])
    kept = {f"{GRID}_yardsticks": pd.DataFrame({"yardstick": YARDSTICKS, "fid_judge": 1.0, "variant": "a"})}
    monkeypatch.setenv("MVQLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(second_judge, "EfficientNetExtractor", Colours)
    monkeypatch.setattr(second_judge, "YARDSTICKS", {GRID: ("a", "b")})
    monkeypatch.setattr(second_judge, "collect", lambda _: Collected(table, tmp_path, [], None, 0))
    monkeypatch.setattr(second_judge, "reference_table", kept.get)
    monkeypatch.setattr(of_grids, "reference_table", {}.get)
    Colours.n_seen = 0
    return table


def test_what_has_run_is_judged_once_and_real_images_beside_it(runs: pd.DataFrame, tmp_path: Path) -> None:
    asked = Asked(tmp_path / "out", "a grid's runs", n_images=5)
    path, picture = second_judge.make_second_judge(GRID, asked)
    table = pd.read_csv(path)
    assert table["yardstick"].fillna("drawn").tolist() == ["drawn", *YARDSTICKS]
    assert set(table["point"]) == {"one"} and (table["generated_images"] == 5).all()
    assert picture.stat().st_size > 0
    trained = load_trained(tmp_path / "stage2", tmp_path / "stage1")
    config = trained.config.model_copy(update={"evaluation": EvaluationConfig(samples=5)})
    drawn = sample_images(trained.model, trained.stage1, config).images
    real = next(batches_in_order(build_splits(config.data).validation, 5)).images
    distance = frechet_distance(*(features_of(Colours(), images) for images in (real, drawn)))
    assert table["fid_efficientnet"][0] == pytest.approx(distance, rel=1e-3)

    n_seen, before = Colours.n_seen, path.read_bytes()
    second_judge.make_second_judge(GRID, asked)
    assert Colours.n_seen == n_seen and path.read_bytes() == before


def test_a_look_at_fewer_images_is_no_part_of_the_table(runs: pd.DataFrame, tmp_path: Path) -> None:
    for n in (5, 4):
        path, _ = second_judge.make_second_judge(GRID, Asked(tmp_path / "out", "", n_images=n))
        assert set(pd.read_csv(path)["generated_images"]) == {n}


def test_where_nothing_has_run_it_says_what_to_run(
    runs: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second_judge, "collect", lambda _: Collected(runs[1:], tmp_path, [], None, 0))
    with pytest.raises(KeptError, match=f"mvqlab grid run ablations/{GRID}.yaml"):
        second_judge.make_second_judge(GRID, Asked(tmp_path / "out", ""))
