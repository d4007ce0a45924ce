"""Means, intervals and comparisons against numbers worked out by hand or by scipy."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mvqlab import results
from mvqlab.results.columns import heading
from mvqlab.results.summary import (
    SummaryError,
    as_paper,
    compare,
    interval,
    key_of,
    published,
    summarise,
)


def table() -> pd.DataFrame:
    rows = [
        ("adaptive", 0.5, 0, 21.0, "done"),
        ("adaptive", 0.5, 1, 22.0, "done"),
        ("adaptive", 0.5, 2, 23.0, "done"),
        ("random", 0.5, 0, 20.0, "done"),
        ("random", 0.5, 1, 20.5, "done"),
        ("random", 0.5, 2, 22.5, "done"),
        ("adaptive", 0.75, 0, 19.0, "done"),
        ("random", 0.75, 0, 99.0, "failed"),
    ]
    return pd.DataFrame(rows, columns=["mask", "mask_ratio", "seed", "psnr", "status"])


def test_a_mean_has_students_interval() -> None:
    summary = summarise(table(), ["mask", "mask_ratio"], ["psnr"])
    first = summary.iloc[0]
    # 22 +- 4.3027 * 1 / sqrt(3)
    assert (first["n"], first["mean"]) == (3, 22.0)
    assert first["low"] == pytest.approx(22 - 2.48414, abs=1e-4)
    assert first["high"] == pytest.approx(22 + 2.48414, abs=1e-4)


def test_a_single_seed_has_no_interval_and_failed_points_do_not_count() -> None:
    summary = summarise(table(), ["mask", "mask_ratio"], ["psnr"]).set_index(["mask", "mask_ratio"])
    assert math.isnan(summary.loc[("adaptive", 0.75), "low"])
    assert ("random", 0.75) not in summary.index


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=9, unique=True))
def test_intervals_are_scipys(values: list[int]) -> None:
    mean, error = sum(values) / len(values), stats.sem(values)
    low, high = stats.t.interval(0.95, len(values) - 1, loc=mean, scale=error)
    found = interval(values)
    assert (found["low"], found["high"]) == (pytest.approx(low), pytest.approx(high))


def test_comparisons_are_paired_by_seed() -> None:
    """The differences are 1, 1.5 and 0.5, far less spread than either side."""
    (row,) = compare(table(), "mask", "adaptive", "random", ["mask_ratio"], ["psnr"]).itertuples()
    assert (row.mask_ratio, row.n, row.mean, row.is_clear) == (0.5, 3, 1.0, False)
    assert row.low == pytest.approx(1 - 4.30265 * 0.5 / 3**0.5, abs=1e-4)
    of_one_ratio = table().query("mask_ratio == 0.5")
    assert compare(of_one_ratio, "mask", "adaptive", "random", [], ["psnr"])["mean"].tolist() == [1.0]


def test_what_cannot_be_paired_or_is_not_there_is_named() -> None:
    with pytest.raises(SummaryError, match="several have the same mask, seed"):
        compare(pd.concat([table(), table()]), "mask", "adaptive", "random", [], ["psnr"])
    with pytest.raises(SummaryError, match=r"no column fid; it has mask, mask_ratio"):
        summarise(table(), ["mask"], ["fid"])


def test_equal_values_have_no_spread() -> None:
    """Operations are counted: three runs have one number, and a third of their sum is another by rounding."""
    value = 0.244649984
    assert math.fsum([value] * 3) / 3 != value
    assert interval([value] * 3) == {"n": 3, "mean": value, "low": value, "high": value}


def test_a_paper_prints_means_with_half_an_interval() -> None:
    printed = as_paper(summarise(table(), ["mask", "mask_ratio"], ["psnr"]), ["mask", "mask_ratio"])
    assert printed["psnr, dB"].tolist() == ["22.0 ± 2.5", "21.0 ± 3.3", "19"]
    assert printed["n"].tolist() == ["3", "3", "1"]
    assert "22.0 ± 2.5" in printed.to_latex(index=False)


@pytest.mark.parametrize("name", ["score_auc", "kept_iou", "codebook_used_share", "precision_lab", "my_auc"])
def test_no_share_is_less_than_nothing_or_more_than_all(name: str) -> None:
    """Student's interval knows no ends: an AUC of up to 1.03."""
    near_the_ends = table().query("mask_ratio == 0.5").assign(**{name: [0.99, 1.0, 0.95, 0.01, 0.0, 0.06]})
    summary = summarise(near_the_ends, ["mask"], [name])
    assert summary["low"].tolist() == [pytest.approx(0.9143, abs=1e-4), 0.0]
    assert summary["high"].tolist() == [1.0, pytest.approx(0.1032, abs=1e-4)]
    assert as_paper(summary, ["mask"])[heading(name)].tolist() == [
        "0.980 (0.914 to 1.000)",
        "0.023 (0.000 to 0.103)",
    ]
    between = compare(near_the_ends, "mask", "adaptive", "random", [], [name])
    assert between["high"].tolist() == [1.0] and between["is_clear"].tolist() == [True]


def test_seeds_that_all_lie_at_an_end_are_not_sure_of_it() -> None:
    """Nothing was found three times: that does not make 0.0 to 0.0 of it."""
    none = table().assign(suspected_lab=0.0, codebook_used_share=1.0, my_share_price=[7.0] * 8)
    summary = summarise(none, ["mask"], ["suspected_lab", "codebook_used_share", "my_share_price"])
    of_three = summary.set_index(["mask", "metric"]).loc["random"]
    assert of_three.loc["suspected_lab", ["low", "high"]].isna().all()
    assert of_three.loc["codebook_used_share", ["low", "high"]].isna().all()
    assert of_three.loc["my_share_price", "high"] == 7.0  # no share, whatever it is called


def test_published_numbers_have_a_source_each() -> None:
    everything = published()
    assert everything[["table", "metric", "value", "source"]].notna().all(axis=None)
    table_6 = published("table 6").query("metric == 'FID'").set_index("mask_ratio")["value"]
    assert table_6.astype(float).to_dict() == {0.1: 7.81, 0.25: 7.67, 0.5: 8.36, 0.75: 11.71}
    with pytest.raises(SummaryError, match="there are headline, table 6"):
        published("table 9")


def test_every_published_row_names_its_source_and_who_read_it() -> None:
    """Where another paper's id stands beside a method's numbers, the remark calls them second-hand."""
    papers = {
        "DQ-": "2305.11718",
        "One-D-Piece": "2501.10064",
        "FlexTok": "2502.13967",
        "KARL": "2507.07995",
    }
    everything, others = published(), published("other methods")
    for table in (everything, others):
        assert table[["table", "data", "model", "metric", "value", "source", "remark"]].notna().all(axis=None)
    assert others["source"].str.contains(r"arXiv \d{4}\.\d{5}").all()
    named = others["model"].map(lambda model: next(name for name in papers if model.startswith(name)))
    assert set(named) == set(papers)
    is_own = [papers[name] in source for name, source in zip(named, others["source"], strict=True)]
    assert others["remark"].str.contains("second-hand").tolist() == [not own for own in is_own]


def test_other_methods_never_stand_among_the_papers_numbers() -> None:
    """Who filters all that is published by data and metric compares MQ-VAE with itself."""
    everything, others = published(), published("other methods")
    assert "other methods" not in set(everything["table"]) and len(everything) == 27
    assert not set(everything["model"]) & set(others["model"])
    assert everything["mask"].notna().all()
    assert others[["mask", "mask_ratio", "demask"]].isna().all(axis=None)
    assert (others["tokens"] > 0).all() and others["value"].astype(float).gt(0).all()
    ffhq = everything.query("data == 'FFHQ 256' and metric == 'FID' and table == 'headline'")
    assert ffhq["value"].tolist() == ["6.84", "5.67"] and ffhq["tokens"].tolist() == [256, 256]


def test_other_methods_have_the_numbers_that_were_printed() -> None:
    others = published("other methods").set_index(["data", "model", "tokens", "metric"])["value"]
    assert others.index.is_unique
    assert others["FFHQ 256", "DQ-Transformer 308 M", 640, "FID"] == "4.91"
    assert others["ImageNet 256", "One-D-Piece-L-256", 256, "rFID"] == "1.08"
    assert others["ImageNet 256", "FlexTok d18-d28", 32, "rFID"] == "1.45"
    assert others["ImageNet-100 256", "KARL", 128, "rFID"] == "13.6"


def test_results_offers_them() -> None:
    assert results.summarise is summarise and results.compare is compare


MIXED = [None, [0.0, 0.9], "[0.25, 0.5]", True, 1, 0.5, "adaptive", {"photos": 0.5}]


def mixed() -> pd.DataFrame:
    """Two masks, three seeds and each value; psnr is 20 + place, and 1 more without a mask."""
    rows = [
        {"mask": mask, "value": value, "seed": seed, "psnr": 20.0 + place + (mask is None)}
        for place, value in enumerate(MIXED)
        for mask in (None, "random")
        for seed in (0, 1, 2)
    ]
    return pd.DataFrame(rows)


def test_null_ranges_truth_numbers_and_words_are_groups_of_their_own() -> None:
    """pandas' groups take True for 1, stop at lists and leave null out."""
    summary = summarise(mixed(), ["value", "mask"], ["psnr"])
    assert summary["mean"].tolist() == [20.0 + place + more for place in range(len(MIXED)) for more in (1, 0)]
    assert set(summary["n"]) == {3}
    printed = as_paper(summary, ["value", "mask"])
    assert printed["value"].tolist()[:2] == ["null", "null"] and len(printed) == 2 * len(MIXED)


def test_null_is_compared_and_groups_are_in_order() -> None:
    compared = compare(mixed(), "mask", None, "random", ["value"], ["psnr"])
    assert compared["mean"].tolist() == [1.0] * len(MIXED) and set(compared["n"]) == {3}
    order = [None, True, 0.5, 1, "adaptive", [0.0, 0.9], "[0.25, 0.5]", {"photos": 0.5}]
    assert [key_of(value) for value in compared["value"].tolist()] == [key_of(value) for value in order]


@pytest.mark.parametrize(
    ("first", "second", "difference"),
    [
        (None, True, -3.0),
        (math.nan, 1.0, -4.0),
        ([0, 0.9], (0.25, 0.5), -1.0),  # a range, as a list or as a table's words
        ("[0.0, 0.9]", "adaptive", -5.0),
        (True, 1, -1.0),
    ],
)
def test_any_two_values_are_compared(first: object, second: object, difference: float) -> None:
    compared = compare(mixed(), "value", first, second, ["mask"], ["psnr"])
    assert compared["mean"].tolist() == [difference, difference]


def test_a_null_among_numbers_is_not_a_number() -> None:
    table = pd.DataFrame({"ratio": [None, None, 0.5], "seed": [0, 1, 0], "psnr": [20.0, 22.0, 30.0]})
    summary = summarise(table, ["ratio"], ["psnr"])
    assert summary[["n", "mean"]].to_numpy().tolist() == [[2, 21.0], [1, 30.0]]


def test_an_interval_of_what_cannot_be_negative_ends_at_0() -> None:
    """Of 5, 100 and 20 images a second Student's interval reaches below 0, where no speed is."""
    table = pd.DataFrame({"arm": "a", "samples_per_second": [5.0, 100.0, 20.0], "kid_lab": [-0.1, 0.3, 0.0]})
    found = summarise(table, ["arm"], ["samples_per_second", "kid_lab"]).set_index("metric")
    assert found.loc["samples_per_second", "low"] == 0.0
    assert found.loc["kid_lab", "low"] < -0.3, "an unbiased distance may be below 0"
    below = table.assign(samples_per_second=[-5.0, 100.0, 20.0])
    assert summarise(below, ["arm"], ["samples_per_second"])["low"].item() < 0.0, "the values say otherwise"


def test_a_difference_of_speeds_may_be_negative() -> None:
    speeds = {"a": (5, 9, 1), "b": (8, 9, 7)}
    rows = [(arm, seed, speed) for arm in speeds for seed, speed in enumerate(speeds[arm])]
    table = pd.DataFrame(rows, columns=["arm", "seed", "samples_per_second"])
    assert compare(table, "arm", "a", "b", [], ["samples_per_second"])["low"].item() < -5
