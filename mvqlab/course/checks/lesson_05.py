"""Checks of lesson 5's exercises."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import torch

from mvqlab.course.exercises import exercise
from mvqlab.evaluation.images.rate import position_bits
from mvqlab.models.masking import n_kept
from mvqlab.results import compare


def exercise_1(check: exercise, regions_kept: Any, really_dropped: Any) -> None:
    """Regions kept on the grid, and the share that is dropped."""
    check.done(regions_kept, really_dropped)
    truth = [n_kept(ratio, 64) for ratio in (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)]
    check.equal(regions_kept, truth, "(1 - a) * 64 is rarely whole: round it to the nearest, once.")
    check.equal(really_dropped, 1 - truth[-1] / 64, "Those that are not kept are dropped.", 1e-3)


def exercise_2(check: exercise, bits_of_places: Any) -> None:
    """Bits of the places."""
    check.equal(bits_of_places(4, 2), math.log2(6), "Two of four places can be chosen in six ways.")
    check.equal(bits_of_places(64, 64), 0.0, "If all are kept there is nothing to say.")
    check.equal(
        [bits_of_places(64, n) for n in range(65)],
        [position_bits(64, n) for n in range(65)],
        "Order does not matter: the places are a set.",
    )


def exercise_3(check: exercise, paired_interval: Any, runs: pd.DataFrame) -> None:
    """The paired interval."""
    answer = paired_interval(np.array([3.0, 5.0, 4.0]), np.array([1.0, 2.0, 3.0]))
    check.done(answer)
    check.equal(answer[0], 2.0, "The mean of the differences 2, 3 and 1.")
    check.equal(
        answer, [2.0, -0.4841, 4.4841], "ddof=1 in the deviation, sqrt(n) below, 2 degrees of freedom.", 1e-3
    )
    both = runs[runs["mask_ratio"] == 0.5].pivot_table(index="seed", columns="mask", values="psnr")
    library = compare(runs, "mask", "adaptive", "random", ["mask_ratio"], ["psnr"]).set_index("mask_ratio")
    found = paired_interval(both["adaptive"].to_numpy(), both["random"].to_numpy())
    check.equal(
        found, library.loc[0.5, ["mean", "low", "high"]].tolist(), "On the table it should agree too."
    )


def exercise_4(check: exercise, largest_ratio: Any) -> None:
    """The largest ratio that loses little."""
    made_up = pd.DataFrame(
        [
            {"mask": mask, "mask_ratio": ratio, "seed": run, "psnr": psnr}
            for mask, ratio, run, psnr in [
                ("adaptive", 0.0, 0, 24.0),
                ("adaptive", 0.0, 1, 20.0),
                ("adaptive", 0.5, 0, 23.8),
                ("adaptive", 0.5, 1, 19.7),
                ("adaptive", 0.9, 0, 21.0),
                ("adaptive", 0.9, 1, 19.0),
                ("random", 0.5, 0, 23.0),
            ]
        ]
    )
    check.equal(largest_ratio(made_up, "adaptive", 0.5), 0.5, "0.25 dB are lost at 0.5, 2 dB at 0.9.")
    check.equal(largest_ratio(made_up, "adaptive", 3.0), 0.9, "All are allowed: take the largest.")
    check.that(
        largest_ratio(made_up, "random", 0.5) != 0.5,
        "The one random run has 23 dB, more than the unmasked mean of 22. Its own seed had 24.",
    )


def exercise_5(check: exercise, threshold_for: Any) -> None:
    """One threshold for all images."""
    made_up = torch.rand(200, 64, generator=torch.Generator().manual_seed(0))
    made_up[:100] *= 0.5  # images in which little scores high
    found = threshold_for(made_up, 0.75)
    check.done(found)
    check.that(not isinstance(found, torch.Tensor) or found.numel() == 1, "One threshold for all images.")
    check.equal(
        float((made_up < found).float().mean()), 0.75, "Take all regions of all images as one set.", 0.01
    )
    check.that(
        int((made_up[:100] >= found).sum()) == 0,
        "Half of the images here hold nothing above 0.5: theirs must not be a quarter each.",
    )


def exercise_6(
    check: exercise,
    random_half_free_places: Any,
    learned_three_quarters: Any,
    learned_is_cheaper_and_better: Any,
    rated: pd.DataFrame,
) -> None:
    """Rates with and without free places."""
    check.done(random_half_free_places, learned_three_quarters, learned_is_cheaper_and_better)
    means = rated.groupby(["mask", "mask_ratio"])[["code_bits", "rate_bits", "psnr"]].mean()
    learned, drawn = means.loc[("adaptive", 0.75)], means.loc[("random", 0.5)]
    check.equal(random_half_free_places, drawn["code_bits"], "Leave its places out, keep its codes.", 1e-3)
    check.equal(learned_three_quarters, learned["rate_bits"], "Learned places are not free.", 1e-3)
    verdict = learned["rate_bits"] < drawn["code_bits"] and learned["psnr"] > drawn["psnr"]
    check.that(learned_is_cheaper_and_better == verdict, "Compare both: fewer bits, and more dB?")
