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
    table, page, picture = verdicts.make_verdicts(Asked(tmp_path / "out", ASKED))
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
    assert f"| codebook_effective_rank | 6 | {mean} ({low} to {high}) | 1.5 |" in row and row.endswith(
        "| **holds** |"
    )
    assert (
        "Not run yet: the masked model that drops nothing has more directions than plain VQ;"
        in page.read_text()
    )


def test_without_a_kept_table_there_is_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "KEPT", tmp_path)
    with pytest.raises(KeptError, match="no table"):
        verdicts.make_verdicts(Asked(tmp_path / "out", ASKED))
