"""Every table and figure of `results/reference/`, by name, with the one function that makes it anew.

    make("mask_ratio_moving", Path("results/reference"))

``mvqlab results make NAME`` calls it, ``mvqlab results list`` lists them. What is shown is chosen by number,
never by looks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mvqlab.gallery.asked import ALL, Asked, KeptError
from mvqlab.gallery.conditional import make_attributes_over_guidance, make_class_asked_for
from mvqlab.gallery.corners import NAME as CORNERS
from mvqlab.gallery.corners import make_corners
from mvqlab.gallery.costs import make_bits, make_budgets_one_model
from mvqlab.gallery.judged import (
    make_judged_over_temperature,
    make_judges,
    make_possible_copies,
    make_yardsticks,
)
from mvqlab.gallery.of_grids import NAMES, YARDSTICKS, files_of, make_grid
from mvqlab.gallery.overfitting import GRID as OVERFITTING
from mvqlab.gallery.overfitting import make_overfitting_curves
from mvqlab.gallery.pictures import (
    mask_ratio_moving,
    reconstructions_anything,
    reconstructions_emoji,
    sample_sheet,
    widget,
)
from mvqlab.gallery.rates import make_rates
from mvqlab.gallery.second_judge import make_second_judge
from mvqlab.gallery.trained_anew import QUALITY, make_quality
from mvqlab.gallery.verdicts import make_verdicts


class Made(NamedTuple):
    """What can be made: what it shows, of which model, its files, and what makes them."""

    what: str
    model: str
    files: Sequence[str]
    draw: Callable[[Asked], list[Path]]


def make(
    name: str,
    folder: Path,
    model: str | None = None,
    stage1: str | None = None,
    n_images: int | None = None,
) -> list[Path]:
    """Make the kept table or picture `name` into `folder`; returns the files that were written.

    model: another shipped model than the usual one, or the folder of a run, and then `stage1` that of its
    stage 1 if it is a transformer. n_images: fewer images, for a quick look at a table. Raises KeptError,
    and what loading the model raises.
    """
    if name not in MADE:
        raise KeptError(f"there is no kept table or picture '{name}': there are {', '.join(MADE)}")
    made = MADE[name]
    if model is not None and made.model in OF_NO_MODEL:
        raise KeptError(f"{name} is made of {made.model}, not of {model}")
    if name in WIDGETS and model not in (None, made.model):
        raise KeptError(f"{name} shows {made.model}, the widget's own, not {model}")
    return made.draw(Asked(folder, model or made.model, stage1, n_images))


GRID, TRAININGS = "a grid's runs", "trainings of its own"
OF_NO_MODEL = (GRID, TRAININGS)
WIDGETS = {"mask_explorer": "emoji_mqvae", "generation_player": "fashion_stackformer"}

MADE: dict[str, Made] = {
    "mask_ratio_moving": Made(
        "the mask ratio going from 0 to 95 % on eight emoji; a still beside it",
        "emoji_mqvae",
        ["mask_ratio_moving.webp", "mask_ratio_still.png"],
        mask_ratio_moving,
    ),
    "reconstructions_emoji": Made(
        "emoji with 50, 75 and 90 % dropped, and 75 % at random",
        "emoji_mqvae",
        ["reconstructions_emoji.png"],
        reconstructions_emoji,
    ),
    "reconstructions_anything": Made(
        "a disc, photographs and emoji with 50, 75 and 90 % dropped",
        "anything_mqvae",
        ["reconstructions_anything.png"],
        reconstructions_anything,
    ),
    **{
        name: Made(
            f"{n_rows} samples of each class", model, [f"{name}.png"], partial(sample_sheet, name, n_rows)
        )
        for name, n_rows, model in (
            ("sample_sheet_simple", 8, "simple_stackformer"),
            ("sample_sheet_fashion", 7, "fashion_stackformer"),
            ("sample_sheet_emoji", 7, "emoji_stackformer"),
        )
    },
    **{
        name: Made(
            f"{what}, as a browser shows it: needs Chromium",
            WIDGETS[name],
            [f"{name}.png"],
            partial(widget, name),
        )
        for name, what in (
            ("mask_explorer", "the mask explorer, learned scores beside a random mask"),
            ("generation_player", "the generation player after 27 pairs"),
        )
    },
    "class_asked_for": Made(
        "table and figure: how many samples show the class or caption that was asked for",
        ALL,
        ["class_asked_for.csv", "class_asked_for.png"],
        make_class_asked_for,
    ),
    "attributes_over_guidance": Made(
        "table and figure: each attribute asked for, with codes, positions or both guided",
        ALL,
        ["attributes_over_guidance.csv", "attributes_over_guidance.png"],
        make_attributes_over_guidance,
    ),
    "judges": Made(
        "table: every judge of samples, without filters and with the published ones",
        ALL,
        ["judges.csv"],
        make_judges,
    ),
    "judged_over_temperature": Made(
        "table and figure: precision and recall of samples over their temperature, and of real images",
        ALL,
        ["judged_over_temperature.csv", "judged_over_temperature.png"],
        make_judged_over_temperature,
    ),
    "yardsticks": Made(
        "table: the judges' figures of real images, as they are, after stage 1 and made worse",
        ALL,
        ["yardsticks.csv"],
        make_yardsticks,
    ),
    "bits": Made(
        "table: bits an image of codes and of positions, training and held-out images",
        ALL,
        ["bits.csv"],
        make_bits,
    ),
    "rates": Made(
        "table and figure: PSNR over bits, positions counted, beside JPEG and WebP",
        ALL,
        ["rates.csv", "rates.png"],
        make_rates,
    ),
    "possible_copies": Made(
        "table and figure: how many samples may be copies, and those nearest to training images",
        "emoji_stackformer",
        ["possible_copies.csv", "possible_copies.png"],
        make_possible_copies,
    ),
    "budgets_one_model": Made(
        "table: fixed shares of the regions against thresholds",
        "emoji_mqvae",
        ["budgets_one_model.csv"],
        make_budgets_one_model,
    ),
    **{
        name: Made(
            "table: how soon pictures are good", TRAININGS, [f"{name}.csv"], partial(make_quality, name)
        )
        for name in QUALITY
    },
    "verdicts": Made(
        "table, page and figure: what the kept runs of the protocol's grids say of each claim",
        GRID,
        ["verdicts.csv", "verdicts.md", "verdicts.png"],
        partial(make_verdicts, "verdicts"),
    ),
    **{
        f"{grid}_second_judge": Made(
            "table and figure: what a grid's runs drew, before a judge that knows photographs alone",
            GRID,
            [f"{grid}_second_judge.csv", f"{grid}_second_judge.png"],
            partial(make_second_judge, grid),
        )
        for grid in YARDSTICKS
    },
    CORNERS: Made(
        "tables and figure: norm, product and de-masker, each with and without the others",
        GRID,
        [f"{CORNERS}_effects.csv", f"{CORNERS}.csv", f"{CORNERS}.png"],
        make_corners,
    ),
    f"{OVERFITTING}_curves": Made(
        "table and figure: held-out and training losses along the runs of claim 7",
        GRID,
        [f"{OVERFITTING}_curves.csv", f"{OVERFITTING}_rise.csv", f"{OVERFITTING}_curves.png"],
        make_overfitting_curves,
    ),
    **{
        name: Made(f"what is kept of ablations/{name}.yaml", GRID, files_of(name), partial(make_grid, name))
        for name in NAMES
    },
}
