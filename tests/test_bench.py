"""The benchmark compares what it says it compares; no test looks at how long anything takes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from mvqlab import bench
from mvqlab.models.demasking import DirectionConstrainedAttention


def test_fused_and_naive_attention_agree() -> None:
    naive = bench.NaiveDirectionConstrainedAttention(32)
    fused = DirectionConstrainedAttention(32)
    fused.load_state_dict(naive.state_dict())
    x, trust = torch.randn(2, 32, 3, 5), torch.rand(2, 15)
    torch.testing.assert_close(naive(x, trust), fused(x, trust), atol=1e-5, rtol=1e-4)


def test_a_table_has_ratios_to_the_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 4.0, 4.0, 6.0])
    monkeypatch.setattr(bench.time, "perf_counter", lambda: next(ticks))
    cases = [bench.Case("w", "slow", "slow", lambda: None), bench.Case("w", "fast", "slow", lambda: None)]
    table = bench.measure(cases, repeats=1, device=torch.device("cpu"))
    assert table["times_faster"].tolist() == [1.0, 2.0]


def test_results_are_written_with_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = bench.Case("w", "only", "only", lambda: None)
    monkeypatch.setattr(bench, "SUITES", {"toy": lambda device: [case]})
    bench.main([], folder=tmp_path, repeats=2)
    table = pd.read_csv(next(tmp_path.glob("*.csv")))
    assert {"suite", "work", "way", "seconds", "times_faster", "device", "torch"} <= set(table)


def test_an_unknown_suite_is_named() -> None:
    with pytest.raises(ValueError, match="no such suite: demsk"):
        bench.main(["demsk"])
