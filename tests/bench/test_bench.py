"""The benchmark compares what it says it compares; no test looks at how long anything takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest
import torch
from tiny_runs import tiny, tiny_transformer

from mvqlab import bench
from mvqlab.bench import demask, grid, published, sampling, timing, train_step
from mvqlab.bench.demask import NaiveDirectionConstrainedAttention, TranscribedDemaskModule
from mvqlab.bench.sampling import bytes_read_for_a_pair
from mvqlab.cli import main as cli
from mvqlab.config import BackboneConfig, Config, DemaskConfig
from mvqlab.evaluation.speed import timings
from mvqlab.models.demasking import DemaskModule, DirectionConstrainedAttention
from mvqlab.models.transformers import build_stage2
from mvqlab.results.table_files import TableError


def test_the_transcribed_module_computes_what_ours_does() -> None:
    sizes = (DemaskConfig(layers=2), BackboneConfig(feature_dim=32), 5, 4)
    transcribed, ours = TranscribedDemaskModule(*sizes), DemaskModule(*sizes)
    ours.load_state_dict(transcribed.state_dict())
    regions, positions = torch.randn(3, 6, 5), torch.rand(3, 16).argsort(1)[:, :6].sort(1).values
    torch.testing.assert_close(
        transcribed(regions, positions), ours(regions, positions), atol=1e-5, rtol=1e-4
    )


def test_memory_of_fused_attention_grows_with_the_positions_not_their_square() -> None:
    held = {}
    for kind in (DirectionConstrainedAttention, NaiveDirectionConstrainedAttention):
        layer = kind(32)
        for side in (8, 16, 32):
            x, trust = torch.randn(1, 32, side, side, requires_grad=True), torch.rand(1, side * side)
            held[kind, side] = timing.bytes_for_backward(lambda layer=layer, x=x, t=trust: layer(x, t))
    fused = [held[DirectionConstrainedAttention, side] for side in (8, 16, 32)]
    naive = [held[NaiveDirectionConstrainedAttention, side] for side in (8, 16, 32)]
    assert fused[2] < 4.5 * fused[1] and naive[2] > 8 * naive[1]


def test_a_pair_reads_all_weights_but_the_tables() -> None:
    config = tiny_transformer(width=8)
    model = build_stage2(config, codebook_size=5, side=3, n_pairs=4)
    block = 12 * 8 * 8 + 13 * 8  # four linear layers, their biases, two norms
    heads = (6 + 10) * 8 + 2 * 2 * 8
    assert bytes_read_for_a_pair(model) == 4 * (2 * block + heads)


def test_fused_and_naive_attention_agree() -> None:
    naive = NaiveDirectionConstrainedAttention(32)
    fused = DirectionConstrainedAttention(32)
    fused.load_state_dict(naive.state_dict())
    x, trust = torch.randn(2, 32, 3, 5), torch.rand(2, 15)
    torch.testing.assert_close(naive(x, trust), fused(x, trust), atol=1e-5, rtol=1e-4)


def test_a_table_has_ratios_to_the_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([4.0, 2.0])
    monkeypatch.setattr(timing, "timings", lambda run, **options: [next(seconds)])
    bound = bench.Case("w", "bound", "slow", seconds=0.5)
    cases = [bench.Case("w", "slow", "slow"), bench.Case("w", "fast", "slow"), bound]
    table = bench.measure(cases, repeats=1, device=torch.device("cpu"))
    assert table["times_faster"].tolist() == [1.0, 2.0, 8.0]


@pytest.fixture
def toy_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured, smaller, and called but once."""

    def small(preset: str, changes: Mapping[str, object] | None = None) -> Config:
        masks = {name: value for name, value in (changes or {}).items() if name.startswith("mask.")}
        return tiny(*(f"{name}={value}" for name, value in masks.items()))

    def once(run: Callable[[], object], **options: object) -> list[float]:
        return timings(run, repeats=1, warmup=0)

    sizes = {
        demask: {"WIDTH": 32, "LAYERS": 2, "SIDES": (3, 4)},
        sampling: {"WIDTH": 16, "HEADS": 2, "LAYERS": 1, "PUBLISHED_WIDTH": 32, "CODEBOOK_SIZE": 16},
        train_step: {"load_config": small, "TransformerConfig": lambda **_: tiny().transformer},
        published: {"load_config": small},
        grid: {"BUSY": ""},
        timing: {"timings": once},
    }
    sizes[sampling] |= {"N_PAIRS": 4, "MANY_PAIRS": 9, "PUBLISHED_PAIRS": 3}
    for module, values in sizes.items():
        for name, value in values.items():
            monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(sampling, "read_bandwidth", lambda device: timing.read_bandwidth(device, 2**16))


WAYS = {  # what is compared, by suite; a suite that this does not know fails
    "demask": {"naive", "fused", demask.BOUND, "transcribed", "ours"},
    "sampling": {"uncached", "cached", sampling.BOUND, "transformers generate", "ours"},
    "train_step": {"plain VQ", "MQ-VAE", "0% masked", "25% masked", "50% masked", "75% masked"},
    "published": {"ours"},
    "explore": {"encoded once", "encoded anew"},
    "grid": {"run", "one worker", "two workers"},
}


@pytest.mark.parametrize(
    "suite", [pytest.param(name, marks=[pytest.mark.slow] * (name == "grid")) for name in bench.SUITES]
)
@pytest.mark.usefixtures("toy_sizes")
def test_every_suite_runs_all_that_it_compares(
    suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if suite == "sampling":
        pytest.importorskip("transformers")
    assert cli.main(["bench", suite]) == 0
    (written,) = tmp_path.glob("results/bench/*.csv")
    assert written.with_suffix(".png").stat().st_size
    table = pd.read_csv(written)
    assert set(table["way"]) == WAYS[suite]
    assert (table["seconds"] > 0).all() and table["times_faster"].notna().all()
    assert (table.query("way == reference")["times_faster"] == 1).all()
    assert set(table.query("way == reference")["work"]) == set(table["work"])
    if suite in ("demask", "published"):
        assert (table.query("repeats > 0")["memory_mib"] > 0).all()


def test_results_are_written_with_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = bench.Case("w", "only", "only", lambda: None)
    monkeypatch.setattr(bench, "SUITES", {"toy": lambda device: [case]})
    bench.main([], folder=tmp_path, repeats=2)
    table = pd.read_csv(next(tmp_path.glob("*.csv")))
    assert {"suite", "work", "way", "seconds", "times_faster", "device", "torch"} <= set(table)


def toy_suite(name: str, ways: int = 1) -> Callable[[torch.device], list[bench.Case]]:
    return lambda device: [bench.Case(name, f"way {n}", "way 0", seconds=1.0 + n) for n in range(ways)]


def test_a_suite_leaves_what_others_measured_and_replaces_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "SUITES", {"one": toy_suite("one", 2), "two": toy_suite("two")})
    bench.main(["one"], folder=tmp_path)
    assert list(bench.main(["two"], folder=tmp_path)["suite"]) == ["two"]
    (path,) = tmp_path.glob("*.csv")
    assert pd.read_csv(path)["suite"].tolist() == ["one", "one", "two"]
    monkeypatch.setitem(bench.SUITES, "one", toy_suite("one"))
    bench.main(["one"], folder=tmp_path)
    assert sorted(pd.read_csv(path)["suite"]) == ["one", "two"]


def test_suites_that_were_measured_outlive_one_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(device: torch.device) -> list[bench.Case]:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "SUITES", {"one": toy_suite("one"), "two": stopped})
    with pytest.raises(KeyboardInterrupt):
        bench.main(folder=tmp_path)
    (path,) = tmp_path.glob("*.csv")
    assert pd.read_csv(path)["suite"].tolist() == ["one"] and path.with_suffix(".png").exists()


def test_a_table_that_cannot_be_kept_is_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "SUITES", {"one": toy_suite("one")})
    bench.main(folder=tmp_path)
    (path,) = tmp_path.glob("*.csv")
    path.write_text("")
    monkeypatch.setattr(bench, "measure", lambda *_: pytest.fail("it was measured"))
    with pytest.raises(TableError, match="cannot be read as a table"):
        bench.main(folder=tmp_path)


def test_an_unknown_suite_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "demsk"]) == 2
    assert "no suite 'demsk'; there are demask" in capsys.readouterr().err
