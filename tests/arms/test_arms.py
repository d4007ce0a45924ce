"""Arms in a file of one's own: the page's examples, run as they are printed, and what is refused."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from grid_files import read_points, run_grid_process, tiny_base
from tiny_runs import TINY, tiny, tiny_overrides, tiny_transformer
from torch import nn

from mvqlab import results
from mvqlab.arms import (
    ArmError,
    check,
    check_mask,
    check_pair_model,
    check_quantizer,
    check_scorer,
    mask_scorer,
    use_arms,
)
from mvqlab.cli import main as cli
from mvqlab.config import MASK_KINDS, ConfigError, QuantizerConfig, own_arms
from mvqlab.config.own_arms import ARMS_VARIABLE
from mvqlab.data import build_splits
from mvqlab.grid import slurm
from mvqlab.grid.spec import read_grid
from mvqlab.models.mqvae import build_stage1
from mvqlab.models.quantizers import build_quantizer
from mvqlab.models.scorers import UNLEARNED_SCORERS, ConvScorer, MLPScorer
from mvqlab.models.transformers import build_stage2
from mvqlab.sampling import sample_images
from mvqlab.training import CheckpointError, load_stage1, load_stage2, train_stage1, train_stage2
from mvqlab.training.origin import ChangedArmWarning, load_origin

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "ablations" / "ARMS.md").read_text(encoding="utf-8")
EXAMPLES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))
TOGETHER = Path(__file__).parent / "together.py"
CENTRE = ["mask.kind=centre", "mask.mask_ratio=0.75"]
MIDDLE = [5, 6, 9, 10]  # of 4 x 4 regions
KINDS_WORD = "mask.kind=centre"


@pytest.fixture(autouse=True)
def _without_arms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts as a process that has seen no arm."""
    forget(monkeypatch)


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_arms, "_own", {})
    monkeypatch.setattr(own_arms, "_run", set())
    monkeypatch.setenv(ARMS_VARIABLE, "")


def write(folder: Path, name: str, content: str = "") -> Path:
    """An arm file of the page, or one with this `content`."""
    path = folder / name
    path.write_text(content or EXAMPLES[name], encoding="utf-8")
    return path


def adds(name: str) -> str:
    return f'from mvqlab.arms import mask_scorer\nmask_scorer("{name}")(lambda: None)\n'


def test_the_examples_keep_what_an_arm_owes(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert set(EXAMPLES) == {"centre.py", "drawn_once.py"}
    check(*(write(tmp_path, name) for name in EXAMPLES), TOGETHER)
    assert capsys.readouterr().out.splitlines() == [
        "mask.kind=centre: fine",
        "quantizer.kind=drawn_once: fine",
        "transformer.model=together: fine",
    ]
    assert "centre" in MASK_KINDS, "notebooks check their parameter `mask` by it"


def test_an_arm_that_forgets_what_it_was_given_is_told_so(tmp_path: Path) -> None:
    forgets = (
        TOGETHER.read_text(encoding="utf-8").replace("self.order, ", "_, ").replace("together", "forgets")
    )
    with pytest.raises(ArmError, match="its order is raster, where it was given score"):
        check(write(tmp_path, "forgets.py", forgets.replace("together", "forgets")))


# ----------------------------------------------------------------------------- a run, and what becomes of it


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a space in its name, with an arm file and a run that the command line trained by it."""
    folder = tmp_path_factory.mktemp("of mine")
    with pytest.MonkeyPatch.context() as monkeypatch:
        forget(monkeypatch)
        assert train(write(folder, "centre.py"), folder / "run") == 0
        yield folder


@pytest.fixture
def mine(trained: Path, tmp_path: Path) -> Path:
    """A copy of that folder, whose arm file and run may be changed."""
    return Path(shutil.copytree(trained, tmp_path / "of mine"))


def train(arms: Path | None, run: Path, *more: str) -> int:
    given = [] if arms is None else ["--arms", str(arms)]
    settings = tiny_overrides("stage1.checkpoint_every=1", *CENTRE)
    return cli.main(["train", "--stage", "1", "--out", str(run), *given, *more, *settings])


def test_a_run_has_the_arm_and_says_which_file_it_was(mine: Path) -> None:
    use_arms([mine / "centre.py"])
    model = load_stage1(mine / "run")
    assert model.encode(torch.rand(1, 3, 16, 16)).positions.tolist() == [MIDDLE]
    (version,) = load_origin(mine / "run").arms.values()
    assert version["file"] == "centre.py" and len(version["sha256"]) == 64
    assert os.environ[ARMS_VARIABLE] == str(mine / "centre.py"), "for the processes to come"


def test_a_run_goes_on(mine: Path) -> None:
    assert train(mine / "centre.py", mine / "run", "--resume") == 0


def test_a_run_does_not_go_on_with_another_version_unless_told(
    mine: Path, capsys: pytest.CaptureFixture
) -> None:
    file = write(mine, "centre.py", EXAMPLES["centre.py"] + "# better\n")
    assert train(file, mine / "run", "--resume") == 2
    said = capsys.readouterr().err
    assert KINDS_WORD in said and "centre.py" in said and "--allow-changes" in said
    with pytest.warns(ChangedArmWarning, match=r"centre\.py had it then"):
        load_stage1(mine / "run")
    assert train(file, mine / "run", "--resume", "--allow-changes") == 0


def test_a_run_without_its_arm_says_what_is_missing(mine: Path, capsys: pytest.CaptureFixture) -> None:
    """And runs nothing, though the file lies beside it."""
    with pytest.raises(
        CheckpointError, match=r"has mask\.kind=centre \(from centre\.py\), .* --arms FILE"
    ) as raised:
        load_stage1(mine / "run")
    assert "\n" not in str(raised.value)
    assert train(None, mine / "run", "--resume") == 2
    assert f"--arms FILE, or in {ARMS_VARIABLE}" in capsys.readouterr().err
    assert not own_arms._run


def test_runs_without_arms_of_ones_own_say_nothing_of_them(tmp_path: Path) -> None:
    train_stage1(tiny(), tmp_path)
    assert '"arms"' not in (tmp_path / "trained_on.json").read_text()


def test_both_stages_train_draw_and_load_with_arms_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment names the files, and they run when a setting asks for a word that mvqlab has not."""
    files = [write(tmp_path, "centre.py"), write(tmp_path, "drawn_once.py"), TOGETHER]
    monkeypatch.setenv(ARMS_VARIABLE, os.pathsep.join(map(str, files)))
    config = tiny(*CENTRE, "quantizer.kind=drawn_once", "transformer.model=together")
    splits = build_splits(config.data)
    stage1 = train_stage1(config, tmp_path / "1", splits=splits)
    before = build_stage1(config).quantizer.codes
    assert stage1.quantizer.codes.shape == before.shape == (16, 8)
    stage2 = train_stage2(config, stage1, tmp_path / "2", splits=splits)
    drawn = sample_images(stage2, stage1, config).pairs.positions
    assert (drawn.diff(dim=1) > 0).all() and drawn.shape == (10, 4)
    assert set(load_origin(tmp_path / "1").arms) == {"mask.kind=centre", "quantizer.kind=drawn_once"}
    assert "transformer.model=together" in load_origin(tmp_path / "2").arms
    again = load_stage2(tmp_path / "2", load_stage1(tmp_path / "1"))
    assert type(again).__name__ == "Together"


def test_a_learned_scorer_learns(tmp_path: Path) -> None:
    content = (
        "from mvqlab.arms import learned_scorer\nfrom mvqlab.models.scorers import MLPScorer\n"
        'learned_scorer("mine")(MLPScorer)\n'
    )
    check(write(tmp_path, "mine.py", content))
    model = build_stage1(tiny("mask.scorer=mine"))
    model(torch.rand(2, 3, 16, 16)).images.sum().backward()
    assert isinstance(model.mask.scorer, MLPScorer)
    assert all(weight.grad.any() for weight in model.mask.scorer.parameters())


HALVES = """
from mvqlab.arms import learned_mask
from mvqlab.models.masking import AdaptiveMask

@learned_mask("halves")
class Halves(AdaptiveMask):
    def positions_to_keep(self, scores):  # (B, L) -> (B, N): as many below as above
        n, half = self.n_of_batch(scores.shape[1]), scores.shape[1] // 2
        upper, lower = (part.topk(n // 2, dim=1).indices for part in scores.split(half, dim=1))
        return torch.cat([upper, lower + half], dim=1).sort(dim=1).values
"""


def test_a_whole_mask_goes_as_learned_ones_do(tmp_path: Path) -> None:
    use_arms([write(tmp_path, "halves.py", "import torch\n" + HALVES)])
    config = tiny("mask.kind=halves", "loss.scorer_weight=0.5")
    assert config.mask.product_in_use == "score"
    model = train_stage1(config, tmp_path / "run")
    is_kept = load_stage1(tmp_path / "run").encode(torch.rand(3, 3, 16, 16)).is_kept
    assert is_kept.view(3, 2, 8).sum(2).tolist() == [[4, 4]] * 3
    check_mask(model.mask.train(), 16)


# ---------------------------------------------------------------------------------------------------- grids


def test_points_are_of_the_version_of_an_arm_and_others_of_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = str(ROOT / "notebooks" / "ablation_point.ipynb")
    entries = {"notebook": notebook, "base": tiny_base("mask.mask_ratio=0.75")}
    (builtin,) = read_points(tmp_path, **entries, points=[{"mask": "random"}])[1]
    found = []
    for more in ("", "", "# better\n"):
        forget(monkeypatch)
        use_arms([write(tmp_path, "centre.py", EXAMPLES["centre.py"] + more)])
        points = read_points(tmp_path, **entries, axes={"mask": ["centre", "random"]})[1]
        assert (points[1].id, points[1].stage1) == (builtin.id, builtin.stage1)
        found.append((points[0].id, points[0].stage1))
    assert found[0] == found[1]
    assert found[0][0] != found[2][0] and found[0][1] != found[2][1]


def test_a_grid_without_the_arm_says_so_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    grid, _ = read_points(tmp_path, seeds=[0])
    content = yaml.safe_load(grid.path.read_text())
    content |= {"notebook": str(ROOT / "notebooks" / "ablation_point.ipynb"), "base": {"mask": "centre"}}
    grid.path.write_text(yaml.safe_dump(content))
    assert cli.main(["grid", "plan", str(grid.path)]) == 2
    assert "mask.kind: there is no 'centre'" in capsys.readouterr().err
    assert cli.main(["grid", "plan", "--arms", str(write(tmp_path, "centre.py")), str(grid.path)]) == 0


@pytest.mark.slow
def test_a_grid_has_both_in_its_table(tmp_path: Path) -> None:
    content = yaml.safe_load(re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1])
    assert content["axes"]["mask"][0] == "centre"
    content |= {"notebook": str(ROOT / "notebooks" / "ablation_point.ipynb"), "seeds": [0]}
    content["base"] |= tiny_base("evaluation.lpips=none", "evaluation.samples=0")
    content["axes"] = {"mask": ["centre", "random"]}
    grid = tmp_path / "my_grid.yaml"
    grid.write_text(yaml.safe_dump(content))
    code, words = run_grid_process(grid, "--arms", str(write(tmp_path, "centre.py")))
    assert code == 0, words
    table = results.load(read_grid(grid).results).set_index("mask")
    assert set(table.index) == {"centre", "random"} and table["psnr"].notna().all()


def test_a_job_of_a_cluster_is_told_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether or not the cluster hands on the environment."""
    told = {}

    class Process:
        def __init__(self, command: list[str], env: dict[str, str]) -> None:
            told.update(env)

        def wait(self) -> int:
            return 0

    monkeypatch.setattr(subprocess, "Popen", Process)
    monkeypatch.setattr(slurm.signal, "signal", lambda *_: None)
    submitted = []

    class Executor:
        def map_array(self, function, *columns):
            submitted.extend(zip(*columns, strict=True))
            return [type("Job", (), {"job_id": "7_0"})]

    monkeypatch.setenv(ARMS_VARIABLE, "/of mine/centre.py")
    grid = type("Grid", (), {"path": "my_grid.yaml"})
    point = type("Point", (), {"index": 0, "id": "abc"})
    slurm._submit(Executor(), grid, [point], 1, False)
    monkeypatch.setenv(ARMS_VARIABLE, "")
    slurm.run_one(*submitted[0])
    assert told[ARMS_VARIABLE] == "/of mine/centre.py"


# ------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("broken.py", "x = 1\nclass (:\n", r"broken\.py cannot be run: line 2: SyntaxError"),
        ("fails.py", "import os\n\nos.absent()\n", r"fails\.py cannot be run: line 3: AttributeError"),
        ("lacks.py", "import no_such_package\n", r"line 1: ModuleNotFoundError: .*no_such_package"),
        ("ends.py", "raise SystemExit\n", r"ends\.py cannot be run: line 1: SystemExit"),
        ("adds none.py", "x = 1\n", r"adds none\.py adds none: .*@mask_scorer"),
        ("arms.yaml", "x: 1\n", r"arms\.yaml is no Python file"),
        ("taken.py", adds("variance"), r"mask\.kind=variance comes with mvqlab"),
        ("shout.py", adds("Centre"), r"'Centre' cannot be a word of mask\.kind: take small letters"),
        ("yes.py", adds("no"), r"'no' cannot be a word"),
        (
            "no_mask.py",
            adds("x").replace("mask_scorer", "learned_mask").replace("lambda: None", "int"),
            "no Adap",
        ),
        ("bare.py", "from mvqlab.arms import quantizer\n@quantizer\nclass X: ...\n", r"takes the word"),
        ("other.py", 'from mvqlab.arms import quantizer\n@quantizer("x")\nclass X: ...\n', "no Quantizer"),
    ],
)
def test_a_file_that_will_not_do_is_refused_in_one_line(
    name: str, content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = write(tmp_path, name, content)
    assert cli.main(["train", "--stage", "1", "--arms", str(path), *TINY]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(said, line), line
    assert not own_arms._own and not own_arms._run, "it may be mended, and tried again"


def test_a_file_that_fails_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    use_arms([write(tmp_path, "centre.py")])
    with pytest.raises(ArmError, match="ZeroDivisionError"):
        use_arms([write(tmp_path, "half.py", adds("first_half") + "1 / 0\n")])
    assert list(own_arms.own_arms("mask.kind")) == ["centre"]
    use_arms([write(tmp_path, "half.py", adds("first_half"))])
    assert list(own_arms.own_arms("mask.kind")) == ["centre", "first_half"]


def test_a_file_that_is_not_there_is_named_wherever_it_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArmError, match=r"absent\.py is not there: --arms and MVQLAB_ARMS name"):
        use_arms([tmp_path / "absent.py"])
    with pytest.raises(ArmError, match="is a folder"):
        use_arms([tmp_path])
    with pytest.raises(ArmError, match=f"cannot have '{os.pathsep}' in its path"):
        use_arms([tmp_path / f"a{os.pathsep}b.py"])
    monkeypatch.setenv(ARMS_VARIABLE, "absent.py")
    with pytest.raises(ArmError, match=r"absent\.py is not there"):
        tiny("mask.kind=centre")
    tiny("mask.kind=random")  # asks for nobody's arm


def test_a_name_of_two_files_is_refused_and_of_one_replaced(tmp_path: Path) -> None:
    first = write(tmp_path, "centre.py")
    use_arms([first, first])
    other = write(tmp_path, "other.py", EXAMPLES["centre.py"])
    with pytest.raises(ArmError, match=r"mask\.kind=centre is there already, from .*centre\.py"):
        use_arms([other])
    exec(compile(EXAMPLES["centre.py"], "x", "exec"), {"__file__": str(first), "__name__": "centre"})
    for _ in range(2):  # as a notebook's cell that is run again
        mask_scorer("in_a_cell")(nn.Identity)
    assert own_arms.own_arms("mask.kind")["in_a_cell"].build is nn.Identity


def test_an_unknown_word_is_told_what_to_do(tmp_path: Path) -> None:
    use_arms([write(tmp_path, "centre.py")])
    with pytest.raises(ConfigError) as raised:
        tiny("mask.kind=center", "quantizer.kind=drawn_once")
    mask, quantizer = raised.value.faults
    assert mask.where == "mask.kind" and "did you mean 'centre'?" in mask.advice
    assert "random" in mask.what and "ema" in quantizer.what
    assert all("--arms FILE" in fault.advice for fault in (mask, quantizer))


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        (["mask.budget=threshold"], "mask.budget"),
        (["mask.exploration=1"], "mask.exploration"),
        (["loss.scorer_weight=1"], "loss.scorer_weight"),
    ],
)
def test_settings_of_learned_scores_are_refused_as_with_variance(
    changes: list[str], where: str, tmp_path: Path
) -> None:
    use_arms([write(tmp_path, "centre.py")])
    for kind in ("variance", "centre"):
        with pytest.raises(ConfigError, match=f"{where}.*'{kind}'"):
            tiny(f"mask.kind={kind}", *changes)
    tiny(*CENTRE, "mask.product=score")


# -------------------------------------------------------------------------------------- what the checks find


@pytest.mark.parametrize("kind", UNLEARNED_SCORERS)
def test_scorers_of_mvqlab_keep_what_they_owe(kind: str) -> None:
    check_scorer(UNLEARNED_SCORERS[kind](), 16)


@pytest.mark.parametrize("scorer", [MLPScorer, ConvScorer])
def test_learned_scorers_of_mvqlab_keep_what_they_owe(scorer: type[nn.Module]) -> None:
    check_scorer(scorer(16), 16, is_learned=True)


@pytest.mark.parametrize(
    "changes",
    [{}, {"first": "position"}, {"order": "random"}, {"model": "raster", "match_parameters": False}],
    ids=str,
)
def test_pair_models_of_mvqlab_keep_what_they_owe(changes: dict) -> None:
    check_pair_model(build_stage2(tiny_transformer(**changes), codebook_size=16, side=4, n_pairs=16))


class Flat(nn.Module):
    def forward(self, features, context):
        return features.mean(1)  # (B, h, w), which is no (B, L)


class Crowded(nn.Module):
    def forward(self, features, context):
        scores = features.mean(1).flatten(1)
        return scores - scores.mean()  # of all images


class Plain(nn.Module):
    def forward(self, features, context):
        return features.mean(1).flatten(1)


def test_the_check_finds_scores_that_will_not_do() -> None:
    with pytest.raises(ArmError, match=r"scores \(B, L\) are \(3, 25\) here, not \(3, 5, 5\)"):
        check_scorer(Flat(), 16)
    with pytest.raises(ArmError, match="images beside it"):
        check_scorer(Crowded(), 16)
    with pytest.raises(ArmError, match=r"lie in \(0, 1\)"):
        check_scorer(Plain(), 16, is_learned=True)


class Drawn(nn.Module):
    def forward(self, features, context):
        images, _, h, w = features.shape
        return torch.randn(images, h * w, generator=context.generator)  # a number that pairs with the next


def test_the_check_lets_scores_be_drawn() -> None:
    check_scorer(Drawn(), 16)


def test_nothing_to_check_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mvqlab.arms.checks.all_arms", list)
    with pytest.raises(ArmError, match="no arm"):
        check()


def test_the_check_finds_masks_that_will_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_stage1(tiny())
    check_mask(model.mask, 16)
    twice = torch.zeros(3, model.mask.n, dtype=torch.int64)
    for name, broken, said in (
        ("positions_to_keep", lambda scores: twice, "kept twice"),
        ("positions_to_keep", lambda scores: twice[:, 1:], r"positions \(B, N\) are \(3, 8\) here"),
        ("weigh", lambda kept, scores: kept, "no gradient"),
    ):
        with monkeypatch.context() as patch, pytest.raises(ArmError, match=said):
            patch.setattr(model.mask, name, broken)
            check_mask(model.mask, 16)


def test_the_check_finds_quantisers_that_will_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    built = build_quantizer(QuantizerConfig(codebook_size=32, code_dim=8))
    kind = type(built)
    for name, broken, said in (
        ("nearest", lambda self, features: torch.zeros(features.shape[:-1], dtype=torch.int64), "`nearest`"),
        ("look_up", lambda self, codes: self.codes[codes] + 1.0, "`look_up` and `codes` disagree"),
        ("forward", lambda self, features, is_padding=None: self.quantise(features), "padding"),
    ):
        with monkeypatch.context() as patch, pytest.raises(ArmError, match=said):
            patch.setattr(kind, name, broken)
            check_quantizer(built, 8)


def test_the_check_finds_pair_models_that_will_not_do(monkeypatch: pytest.MonkeyPatch) -> None:
    use_arms([TOGETHER])
    sizes = {"codebook_size": 16, "side": 4, "n_pairs": 5}
    model = build_stage2(tiny("transformer.model=together", "transformer.dropout=0").transformer, **sizes)
    check_pair_model(model)
    kind = type(model)
    with monkeypatch.context() as patch, pytest.raises(ArmError, match="`forward` and `next_pair` disagree"):
        patch.setattr(kind, "read_newest", lambda self, cache, previous: cache.start)
        check_pair_model(model)
    with monkeypatch.context() as patch, pytest.raises(ArmError, match="foresee what they predict"):
        patch.setattr(
            kind,
            "read_all",
            lambda self, pairs, conditions: self.embed(pairs) + self.place_embedding[: pairs.n_pairs].flip(0),
        )
        check_pair_model(model)
