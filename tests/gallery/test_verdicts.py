"""The page of verdicts from kept tables: what there is of them is judged, and none is no page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mvqlab.gallery import verdicts
from mvqlab.gallery.asked import Asked, KeptError

ASKED = "a grid's runs"


def test_what_is_kept_so_far_is_judged_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).normal(0.0, 0.1, (2, 6))
    rows = [
        {"variant": arm, "seed": seed, "status": "done", "codebook_effective_rank": mean + noise[place, seed]}
        for place, (arm, mean) in enumerate({"0 %": 7.0, "adaptive 50 %": 10.0}.items())
        for seed in range(6)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "protocol_simple.csv", index=False)
    monkeypatch.setattr(verdicts, "KEPT", tmp_path)
    table, page, picture = verdicts.make_verdicts("verdicts", Asked(tmp_path / "out", ASKED))
    found = pd.read_csv(table).set_index("says")
    decided = found.loc["dropping half of the regions spreads the codes over more directions"]
    assert (decided["verdict"], decided["n"]) == ("holds", 6)
    assert (found.drop(index=decided.name)["verdict"] == "not decided").all()
    assert picture.stat().st_size > 0
    row = next(
        line
        for line in page.read_text(encoding="utf-8").splitlines()
        if "(adaptive 50 % against 0 %)" in line
    )
    mean, low, high = (f"{decided[name]:.3g}" for name in ("mean", "low", "high"))
    assert f"| codebook_effective_rank | 6 (6) | {mean} ({low} to {high}) | 1.5 |" in row and row.endswith(
        "| **holds** |"
    )
    assert (
        "Not run yet: the masked model that drops nothing has more directions than plain VQ;"
        in page.read_text()
    )


@pytest.mark.parametrize("name", verdicts.PROTOCOLS)
def test_without_a_kept_table_there_is_no_page(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdicts, "KEPT", tmp_path)
    with pytest.raises(KeptError, match="no table"):
        verdicts.make_verdicts(name, Asked(tmp_path / "out", ASKED))


def test_rivals_are_judged_by_a_protocol_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gains = np.random.default_rng(0).normal(1.0, 0.05, 5)
    rows = [
        {"variant": arm, "seed": seed, "status": "done", "psnr": 25.0 + gain * (arm == "simple: FSQ")}
        for arm in ("simple: MQ-VAE", "simple: FSQ")
        for seed, gain in enumerate(gains)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "rivals.csv", index=False)
    monkeypatch.setattr(verdicts, "KEPT", tmp_path)
    table, page, picture = verdicts.make_verdicts("rivals_verdicts", Asked(tmp_path / "out", ASKED))
    assert [path.stem for path in (table, page, picture)] == ["rivals_verdicts"] * 3
    found = pd.read_csv(table).set_index("first")
    assert found.loc["simple: FSQ", "verdict"] == "holds"
    assert found.loc["simple: FSQ", "mean"] == pytest.approx(gains.mean(), abs=1e-3)
    assert "(simple: FSQ against simple: MQ-VAE)" in page.read_text(encoding="utf-8")
