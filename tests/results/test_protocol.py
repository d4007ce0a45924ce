"""Verdicts: against scipy's own tests, and the three answers there are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import ttest_1samp, ttest_rel

from mvqlab.cli.main import main
from mvqlab.grid.points import build_points
from mvqlab.grid.spec import read_grid
from mvqlab.results.columns import COLUMNS
from mvqlab.results.protocol import (
    FAILS,
    HOLDS,
    OPEN,
    Hypothesis,
    ProtocolError,
    judge_differences,
    read_claims,
    read_protocol,
    verdicts,
)
from mvqlab.results.summary import SummaryError

DECIDED = Hypothesis(1, "masks help", ("runs",), "masked", "plain", "psnr", "higher", 0.5)


def runs(shift: float, spread: float, n: int = 8) -> pd.DataFrame:
    noise = np.random.default_rng(0).normal(0, 1, n)
    noise = spread * (noise - noise.mean()) / noise.std(ddof=1)
    rows = [("plain", seed, 20.0) for seed in range(n)]
    rows += [("masked", seed, 20.0 + shift + noise[seed]) for seed in range(n)]
    return pd.DataFrame(rows, columns=["variant", "seed", "psnr"]).assign(status="done")


def verdict(shift: float, spread: float, hypothesis: Hypothesis = DECIDED) -> str:
    return verdicts([hypothesis], lambda name: runs(shift, spread))["verdict"].item()


def test_the_p_values_are_those_of_scipy() -> None:
    first, second = np.random.default_rng(1).normal(0.3, 1, (2, 9))
    found = judge_differences(list(first - second), effect=2.0)
    assert found.p == pytest.approx(ttest_rel(first, second).pvalue)
    assert found.p_effect == pytest.approx(ttest_1samp(first - second, 2.0, alternative="less").pvalue)
    assert found.low < found.mean < found.high
    of_less = judge_differences(list(first - second), effect=-2.0)  # where lower is what is claimed
    assert of_less.p_effect == pytest.approx(ttest_1samp(first - second, -2.0, alternative="greater").pvalue)


@pytest.mark.parametrize(
    ("shift", "spread", "expected"),
    [
        (1.0, 0.3, HOLDS),
        (-1.0, 0.3, FAILS),  # clear, the other way round
        (-1.0, 1.5, FAILS),  # perhaps none, and surely none that matters
        (0.1, 0.2, FAILS),  # shown to be smaller than what matters
        (0.4, 0.2, OPEN),  # clear, and too small to matter, which is not shown
        (1.0, 3.0, OPEN),
        (0.0, 3.0, OPEN),
    ],
)
def test_an_effect_holds_does_not_hold_or_is_not_decided(shift: float, spread: float, expected: str) -> None:
    assert verdict(shift, spread) == expected


def test_lower_is_the_mirror_of_higher() -> None:
    lower = DECIDED._replace(direction="lower")
    assert verdict(-1.0, 0.3, lower) == HOLDS and verdict(1.0, 0.3, lower) == FAILS


def test_several_hypotheses_ask_more_of_each() -> None:
    """p is some 0.02: enough for one hypothesis, and not for one of ten."""
    table = runs(1.0, 0.95)
    alone = verdicts([DECIDED], lambda name: table)
    assert 0.005 < alone["p"].item() < 0.05 and alone["verdict"].item() == HOLDS
    among = verdicts([DECIDED] * 10, lambda name: table)
    assert set(among["verdict"]) == {OPEN} and among["p_holm"].tolist() == [alone["p"].item() * 10] * 10


def test_what_has_not_run_is_not_decided_and_counts_all_the_same() -> None:
    def table_of(name: str) -> pd.DataFrame:
        if name == "later":
            raise FileNotFoundError(name)
        return runs(1.0, 0.3)

    found = verdicts([DECIDED, DECIDED._replace(tables=("later",))], table_of)
    assert found["verdict"].tolist() == [HOLDS, OPEN] and found["n"].tolist() == [8, 0]
    assert found["p_holm"][0] == pytest.approx(2 * found["p"][0])


def in_halves(shift: float) -> pd.DataFrame:
    """`runs` whose seeds have two points: a half that is easy by 1 dB, and a hard one."""
    halves = [runs(shift, 0.3).assign(half=half) for half in ("first", "second")]
    table = pd.concat(halves).rename(columns={"half": "stage2.half"})
    table["psnr"] += table["stage2.half"].map({"first": 1.0, "second": -1.0})
    table["variant"] += ", stage2.half=" + table["stage2.half"]
    return table.reset_index(drop=True)


OVER_HALVES = DECIDED._replace(over="stage2.half")


def test_an_arm_of_several_points_a_seed_counts_by_their_mean() -> None:
    table = in_halves(1.0)
    columns = ["n", "mean", "low", "high", "p", "verdict"]
    whole = verdicts([DECIDED], lambda name: runs(1.0, 0.3))[columns]
    pd.testing.assert_frame_equal(verdicts([OVER_HALVES], lambda name: table)[columns], whole)
    # a seed of which a half failed, or has not run, is left out: it would be a half against a mean
    for lost in (table.assign(status=["failed", *["done"] * (len(table) - 1)]), table[1:]):
        assert verdicts([OVER_HALVES], lambda name, lost=lost: lost)["n"].item() == 7
    alone = table[table["stage2.half"] == "first"]
    assert verdicts([OVER_HALVES], lambda name: alone)["n"].item() == 0
    with pytest.raises(SummaryError, match=r"stage2\.half"):
        verdicts([OVER_HALVES], lambda name: pd.concat([table, table]))


def test_what_is_averaged_over_has_not_run_yet() -> None:
    assert verdicts([OVER_HALVES], lambda name: pd.DataFrame(columns=["variant", "seed"]))["n"].item() == 0


def test_one_seed_decides_nothing() -> None:
    one = runs(5.0, 0.1).query("seed == 0")
    assert verdicts([DECIDED], lambda name: one)["verdict"].item() == OPEN
    found = judge_differences([3.0], 1.0)
    assert found.n == 1 and found.p == found.p_effect == 1.0


def test_arms_may_lie_in_several_tables() -> None:
    table = runs(1.0, 0.3)
    parts = {"masked": table[table["variant"] == "masked"], "plain": table[table["variant"] == "plain"]}
    apart = verdicts([DECIDED._replace(tables=("masked", "plain"))], parts.__getitem__)
    whole = verdicts([DECIDED], lambda name: table)
    pd.testing.assert_frame_equal(apart.drop(columns="tables"), whole.drop(columns="tables"))


@pytest.mark.parametrize("change", [{"second": "unmasked"}, {"metric": "fid"}])
def test_an_arm_or_a_column_that_is_not_there_yet_is_not_decided(change: dict[str, str]) -> None:
    found = verdicts([DECIDED._replace(**change)], lambda name: runs(1.0, 0.3))
    assert found["n"].item() == 0 and found["verdict"].item() == OPEN


@pytest.mark.parametrize("other", [{"part_of": 2}, {"data": "garments"}])
def test_claims_and_data_sets_are_corrected_apart(other: dict[str, object]) -> None:
    table = runs(1.0, 0.95)
    protocol = [DECIDED, *[DECIDED._replace(**other)] * 3]
    found = verdicts(protocol, lambda name: table)
    assert found["p_holm"].tolist() == pytest.approx([found["p"][0], *[3 * found["p"][0]] * 3])


def test_that_an_effect_is_missing_is_corrected_too() -> None:
    """p is some 0.02: enough for one hypothesis, and not for one of ten."""
    table = runs(-0.2, 0.75)
    alone = verdicts([DECIDED], lambda name: table)
    assert 0.005 < alone["p_effect"].item() < 0.05 and alone["verdict"].item() == FAILS
    among = verdicts([DECIDED] * 10, lambda name: table)
    assert set(among["verdict"]) == {OPEN}
    assert among["p_effect_holm"].tolist() == pytest.approx([alone["p_effect"].item() * 10] * 10)


GOOD = "{part_of: 1, says: c, tables: t, first: a, second: b, metric: psnr, direction: higher, effect: 1}"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (GOOD.replace("effect: 1", "effect: 0"), "above 0"),
        (GOOD.replace("effect: 1", "effect: yes"), "above 0"),
        (GOOD.replace("higher", "up"), "higher or lower"),
        (GOOD.replace("metric: psnr, ", ""), "lacks metric"),
        (GOOD.replace("metric", "metrik"), "unknown metrik"),
        ("some words", "no mapping"),
    ],
)
def test_a_protocol_that_is_not_right_says_where(entry: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "protocol.yaml"
    path.write_text(f"hypotheses:\n  - {GOOD}\n  - {entry}\n")
    with pytest.raises(ProtocolError, match=f"hypothesis 2.*{words}"):
        read_protocol(path)


def test_the_command_reads_tables_and_keeps_the_verdicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs(1.5, 0.3).to_csv(tmp_path / "t.csv", index=False)
    entry = GOOD.replace("first: a", "first: masked").replace("second: b", "second: plain")
    (tmp_path / "protocol.yaml").write_text(f"hypotheses: [{entry}]")
    out = tmp_path / "verdicts.csv"
    asked = ["verdicts", str(tmp_path / "protocol.yaml"), "--tables", str(tmp_path), "--out", str(out)]
    assert main(asked) == 0
    assert HOLDS in capsys.readouterr().out
    assert pd.read_csv(out)["verdict"].tolist() == [HOLDS]


def asked_of(folder: Path) -> list[str]:
    """The command on a protocol of one hypothesis, whose tables lie in `folder`."""
    (folder / "protocol.yaml").write_text(f"hypotheses: [{GOOD}]")
    return ["verdicts", str(folder / "protocol.yaml"), "--tables"]


def test_a_folder_without_any_of_the_tables_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*asked_of(tmp_path), "nowhere"]) == 2
    assert "nowhere holds none of the 1 tables" in capsys.readouterr().err
    runs(1.5, 0.3).to_csv(tmp_path / "t.csv", index=False)
    assert main([*asked_of(tmp_path), str(tmp_path)]) == 0
    assert "tables that were read: 1 of 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "words"), [("seed,psnr\n1,2\n", "no column variant"), ("", "as a table")]
)
def test_a_table_without_arms_is_told_in_one_line(
    content: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text(content)
    assert main([*asked_of(tmp_path), str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_a_table_without_status_holds_what_is_done() -> None:
    table = runs(1.0, 0.3)
    assert verdicts([DECIDED], lambda name: table.drop(columns="status"))["n"].item() == 8


def test_the_labs_own_protocol_names_arms_and_columns_that_there_are() -> None:
    folder = Path(__file__).parents[2] / "ablations"
    grids = {path.stem: yaml.safe_load(path.read_text()) for path in folder.glob("protocol_*.yaml")}
    for one in read_protocol(folder / "protocol" / "hypotheses.yaml"):
        labels = {point["label"] for name in one.tables for point in grids[name]["points"]}
        assert {one.first, one.second} <= labels, one.says
        assert one.metric in COLUMNS, one.metric
        assert all([one.over] * bool(one.over) == list(grids[name].get("axes", {})) for name in one.tables)


def test_the_grid_of_claim_7_names_its_points_as_the_mean_over_halves_takes_them() -> None:
    """And twins need one and the same stage 1, as do arms that differ in the transformer alone."""
    points = build_points(read_grid(Path(__file__).parents[2] / "ablations" / "protocol_overfitting.yaml"))
    rows = [(point.variant, point.settings["seed"], point.settings["stage2.half"], 1.0) for point in points]
    metric = "bits_per_image_relative_gap"
    table = pd.DataFrame(rows, columns=["variant", "seed", "stage2.half", metric])
    arms = {"first": "Stackformer, 50 %", "second": "raster, plain VQ", "metric": metric}
    found = verdicts([OVER_HALVES._replace(**arms)], lambda name: table.assign(status="done"))
    assert found["n"].item() == len({point.settings["seed"] for point in points}) == 3
    assert len({point.stage1 for point in points}) == 9  # plain, 0 % and 50 %, three seeds each


@pytest.mark.parametrize("page", ["PROTOCOL.md", "README.md"])
def test_pages_count_the_points_that_the_grids_have(page: str) -> None:
    folder = Path(__file__).parents[2] / "ablations"
    rows = [line.split("|") for line in (folder / page).read_text().splitlines() if line.startswith("| `")]
    assert len(rows) > 5
    for cells in rows:
        name = cells[1].split("`")[1].removesuffix(".yaml")
        points = len(build_points(read_grid(folder / f"{name}.yaml")))
        assert int(cells[3]) == points, name


def test_claims_have_words_and_every_hypothesis_has_a_claim() -> None:
    path = Path(__file__).parents[2] / "ablations" / "protocol" / "hypotheses.yaml"
    assert {one.part_of for one in read_protocol(path)} <= set(read_claims(path))


@pytest.mark.parametrize("claims", ["claims: [a]", "claims: {one: a}"])
def test_claims_go_by_number(claims: str, tmp_path: Path) -> None:
    (tmp_path / "protocol.yaml").write_text(f"{claims}\nhypotheses: [{GOOD}]")
    with pytest.raises(ProtocolError, match="number of a claim"):
        read_claims(tmp_path / "protocol.yaml")


@pytest.mark.parametrize(
    ("values", "agree"), [([-1.0, -2.0, 0.5], 2), ([1.0, 2.0, -0.5, 0.0], 2), ([3.0], 1), ([0.0, 0.0], 0)]
)
def test_seeds_agree_that_differ_in_the_direction_of_the_mean(values: list[float], agree: int) -> None:
    assert judge_differences(values, 1.0).agree == agree
