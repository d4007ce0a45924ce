"""Two judges of the same samples against each other: do they put arms in the same order?"""

from __future__ import annotations

from string import ascii_lowercase

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

    Rows with a `yardstick` are real images in the samples' place: crosses with a letter, whose name stands in
    the corner, with that of its `variant` where variants differ; those farther away than all runs are only
    named there. `table` has the columns variant, yardstick, fid_judge and fid_efficientnet.
    """
    x, y = AXES
    figure, axis = one_panel(8.4, 4.6)
    drawn, real = table[table["yardstick"].isna()], table[table["yardstick"].notna()]
    drawn = drawn.assign(variant=drawn["variant"].map(as_written))
    sns.scatterplot(drawn, x=x, y=y, hue="variant", style="variant", s=52, ax=axis)
    real = real.drop_duplicates([x, y]).sort_values([x, y])  # of grey images those made grey are as they were
    is_near = (real[[x, y]] <= 1.1 * drawn[[x, y]].max()).all(axis=1)
    is_one_of_some = real["yardstick"].duplicated(keep=False)
    names = real["yardstick"].where(~is_one_of_some, real["yardstick"] + ", " + real["variant"])
    axis.plot(real[x][is_near], real[y][is_near], "x", color="0.25")
    lines = []
    for letter, row in zip(ascii_lowercase, real[is_near].index, strict=False):
        place = (real[x][row], real[y][row])
        axis.annotate(letter, place, (5, 4), textcoords="offset points", fontsize=SMALL)
        lines.append(f"{letter}   {as_written(names[row])}")
    if not is_near.all():
        lines.append("farther away: " + ", ".join(map(as_written, names[~is_near])))
    corner = {"transform": axis.transAxes, "ha": "right", "multialignment": "left"}
    axis.text(0.98, 0.03, "\n".join(lines), fontsize=SMALL, **corner)
    axis.set(xlim=(0.0, None), ylim=(0.0, None), xlabel=AXES[x], ylabel=AXES[y])
    agreement = drawn[x].corr(drawn[y], method="spearman")
    finish(axis, f"The same models by two judges, rank correlation {agreement:.2f}; crosses: real images")
    legend_beside(axis)
    return figure
