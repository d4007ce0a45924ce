"""What images cost over a training: where held-out and training images part, over-fitting begins."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mvqlab.plots.trade_off import MARKERS

PARTS = {
    "code_bits_per_image": "codes: what",
    "position_bits_per_image": "positions: where",
    "bits_per_image": "both",
}
STYLES = {"held-out": "-", "training": "--", "training batches": ":"}


def overfitting(runs: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """Bits an image over the steps, as `bits_over_steps` gives them: panels for codes, positions and both.

    A colour and a marker a run; solid on held-out images, dashed on training images, dotted on training
    batches as they came. Each panel has its own scale.
    """
    figure = Figure(figsize=(12.2, 3.7), layout="constrained")
    palette = sns.color_palette("colorblind")
    panels = figure.subplots(1, len(PARTS))
    for axis, (column, name) in zip(panels, PARTS.items(), strict=True):
        for number, table in enumerate(runs.values()):
            look = {"color": palette[number % len(palette)], "markersize": 5}
            for of_set, rows in table.groupby("set", sort=False):
                marker = "" if of_set == "training batches" else MARKERS[number % len(MARKERS)]
                axis.plot(rows["step"], rows[column], linestyle=STYLES[of_set], marker=marker, **look)
        axis.set(xlabel="step", title=name)
        axis.title.set_fontsize(9)
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=8)
    panels[0].set_ylabel("bits an image")
    sets = dict.fromkeys(of_set for table in runs.values() for of_set in table["set"])
    handles = [
        Line2D([], [], color=palette[n % len(palette)], marker=MARKERS[n % len(MARKERS)], label=name)
        for n, name in enumerate(runs)
    ]
    handles += [Line2D([], [], color="0.3", linestyle=STYLES[of_set], label=of_set) for of_set in sets]
    figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure
