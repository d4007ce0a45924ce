"""Checks of lesson 10's exercises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from mvqlab.config import load_config
from mvqlab.course.exercises import exercise
from mvqlab.grid.points import Point


def exercise_1(
    check: exercise, number_of_points: Any, points_of: Callable[[str], list[Point]], example: str
) -> None:
    """Points of a grid."""
    check.done(number_of_points)
    hint = (
        "Two masks, three pairs of ratio and steps, three seeds; an exclusion without a seed meets all seeds."
    )
    check.equal(number_of_points, len(points_of(example)), hint)


def exercise_2(check: exercise, my_grid: Any, points_of: Callable[[str], list[Point]]) -> None:
    """Axes for a question."""
    check.done(my_grid)
    found = points_of(my_grid)
    names = ("mask", "mask_ratio", "quantizer.codebook_size", "seed")
    missing = [name for name in names[1:3] if len({point.settings.get(name) for point in found}) == 1]
    check.that(
        not missing, f"Nothing varies {', '.join(missing)}. The size of the codebook has a dotted name."
    )
    check.that({point.settings["mask"] for point in found} == {"adaptive"}, "Which masks were asked for?")
    check.equal(len(found), 10, f"There are {len(found)} points. What is left out, and are there two seeds?")
    left_out = {"mask_ratio": 0.75, "quantizer.codebook_size": 256}
    wrong = [p for p in found if all(p.settings[name] == value for name, value in left_out.items())]
    check.that(not wrong, "256 codes at 0.75 should be left out.")


def exercise_3(check: exercise, trust_stays: Any, held_out_share: Any, restart_rule: Any) -> None:
    """Names of settings."""
    check.done(trust_stays, held_out_share, restart_rule)
    for name, value, read in (
        (trust_stays, False, lambda c: c.demask.mask_update),
        (held_out_share, 0.25, lambda c: c.data.validation_share),
        (restart_rule, "released", lambda c: c.quantizer.restart),
    ):
        check.that(read(load_config("shapes32", {name: value})) == value, f"{name} is another setting.")


def exercise_4(
    check: exercise, points_that_run: Any, points_of: Callable[[str], list[Point]], after: str, before: str
) -> None:
    """Points that run again."""
    check.done(points_that_run)
    new = {point.id for point in points_of(after)} - {point.id for point in points_of(before)}
    hint = "Six points have the new seed. Which of the old seeds' points are not the same any more?"
    check.equal(points_that_run, len(new), hint)


def exercise_5(check: exercise, paired: Any, psnr: dict[str, list[float]], library: pd.DataFrame) -> None:
    """The paired comparison."""
    mine = paired(psnr["adaptive"], psnr["random"])
    check.done(mine)
    truth = library[library["mask_ratio"] == 0.5].iloc[0]
    hint = "One number a seed: first minus second. Then the interval of those numbers."
    check.equal([mine[key] for key in ("mean", "low", "high")], list(truth[["mean", "low", "high"]]), hint)
