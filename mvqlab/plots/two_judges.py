"""Two judges of the same samples against each other: do they put arms in the same order?"""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from mvqlab.plots.style import SMALL, as_written, finish, legend_beside, one_panel

AXES = {
    "fid_judge": "fid_judge, by networks that learned these data",
    "fid_efficientnet": "fid_efficientnet, by one that has seen photographs",
}


def two_judges(table: pd.DataFrame) -> Figure:
    """A mark a run, its distance by one judge along and by the other one up; a colour and a marker an arm.

    Rows with a `yardstick` are real images in the samples' place: crosses, each with its name, and that of
    its `variant` where variants differ; those farther away than all runs are left out, and named in the
    corner. `table` has the columns variant, yardstick, fid_judge and fid_efficientnet.
    """
    x, y = AXES
    figure, axis = one_panel(8.4, 4.6)
    drawn, real = table[table["yardstick"].isna()], table[table["yardstick"].notna()]
    drawn = drawn.assign(variant=drawn["variant"].map(as_written))
    sns.scatterplot(drawn, x=x, y=y, hue="variant", style="variant", s=52, ax=axis)
    real = real.drop_duplicates(["yardstick", x, y])
    is_one_of_some = real["yardstick"].duplicated(keep=False)
    names = real["yardstick"].where(~is_one_of_some, real["yardstick"] + ", " + real["variant"])
    is_near = (real[[x, y]] <= 1.1 * drawn[[x, y]].max()).all(axis=1)
    axis.plot(real[x][is_near], real[y][is_near], "x", color="0.25")
    for words, place in zip(names[is_near], real[[x, y]][is_near].to_numpy(), strict=True):
        axis.annotate(as_written(words), tuple(place), (6, 4), textcoords="offset points", fontsize=SMALL)
    axis.set(xlim=(0.0, None), ylim=(0.0, None), xlabel=AXES[x], ylabel=AXES[y])
    if not is_near.all():
        words = "farther away: " + ", ".join(map(as_written, names[~is_near]))
        axis.text(0.98, 0.03, words, transform=axis.transAxes, ha="right", fontsize=SMALL, color="0.25")
    finish(axis, "The same models by two judges; crosses: real images")
    legend_beside(axis)
    return figure
