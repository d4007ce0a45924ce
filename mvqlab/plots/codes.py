"""Redundancy of codebooks: their spectra, distances to the nearest other code, where dense codes stand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from mvqlab.plots.method.maps import MAP_COLOURS

if TYPE_CHECKING:
    from torch import Tensor

DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D")


def spectra(shares: Mapping[str, Tensor], ranks: Mapping[str, float], title: str = "") -> Figure:
    """Falling shares (r,) of singular values over their number, a line a name; its effective rank is written.

    A dotted line, with the marker of its name, stands at each effective rank: so many equal shares would
    have the same entropy.
    """
    figure = Figure(figsize=(6.6, 3.4), layout="constrained")
    axis = figure.subplots()
    for number, (name, falling) in enumerate(shares.items()):
        look = {"color": sns.color_palette("colorblind")[number], "marker": MARKERS[number % 4]}
        label = f"{name}: effective rank {ranks[name]:.1f}"
        axis.plot(
            np.arange(1, len(falling) + 1), falling, DASHES[number % 4], markersize=4, label=label, **look
        )
        axis.axvline(ranks[name], color=look["color"], linestyle=":", linewidth=1.4)
        top = axis.get_xaxis_transform()  # across in components, up from 0 to 1
        axis.plot(ranks[name], 0.94, transform=top, markersize=7, linestyle="", **look)
    axis.set(xlabel="number of the component", ylabel="share of the singular values", ylim=(0.0, None))
    axis.set_title(title, fontsize=10)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8)
    return figure


def distance_curves(
    distances: Mapping[str, Tensor],
    twins: Mapping[str, Tensor] | None = None,
    threshold: float | None = None,
    title: str = "",
) -> Figure:
    """Which share of the codes has its nearest other code within a distance, a solid curve a name.

    `distances` (K,) are shares of the mean distance between codes; nan is left out. `twins` are drawn thin
    and dashed in the same colour: distances of something to compare with. `threshold` draws a line.
    """
    figure = Figure(figsize=(7.4, 3.6), layout="constrained")
    axis = figure.subplots()
    for number, (name, values) in enumerate(distances.items()):
        colour, marker = sns.color_palette("colorblind")[number], MARKERS[number % 4]
        along = values[~values.isnan()].numpy()
        axis.ecdf(along, color=colour, label=name, marker=marker, markevery=0.2, linewidth=2.0)
        if twins is not None:
            look = {"color": colour, "marker": marker, "markevery": 0.2, "markersize": 4}
            axis.ecdf(
                twins[name].numpy(), linestyle="--", linewidth=1.0, label=f"normal twin of {name}", **look
            )
    if threshold is not None:
        axis.axvline(threshold, color="black", linestyle=":", linewidth=1.4)
        axis.text(threshold, 1.02, f"near-duplicates lie left of {threshold:g}", fontsize=8)
    axis.set(
        xlabel="distance to the nearest other code, share of the mean distance", ylabel="share of the codes"
    )
    axis.set(xlim=(0.0, None), ylim=(0.0, 1.0))
    axis.set_title(title, fontsize=10, pad=16)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


def code_density(
    counts: Mapping[str, Tensor],
    distances: Mapping[str, Tensor],
    coverage: Mapping[str, Tensor],
    title: str = "",
) -> Figure:
    """Every code by how often it is chosen, `counts` (K,), and the distance (K,) to the nearest other one.

    A panel a name. Colour and shape say what it stands for: `coverage` (K,) is the mean share of object
    pixels in its regions; codes under one half are discs, others triangles. Codes not in use are left out.
    """
    figure = Figure(figsize=(4.2 * len(counts) + 0.8, 3.7), layout="constrained")
    panels = figure.subplots(1, len(counts), sharex=True, sharey=True, squeeze=False)[0]
    for axis, (name, occurrences) in zip(panels, counts.items(), strict=True):
        for is_object, marker, label in ((False, "o", "mostly ground"), (True, "^", "mostly object")):
            members = (occurrences > 0) & ((coverage[name] >= 0.5) == is_object)
            drawn = axis.scatter(
                occurrences[members],
                distances[name][members],
                c=coverage[name][members],
                cmap=MAP_COLOURS,
                vmin=0.0,
                vmax=1.0,
                marker=marker,
                s=26,
                edgecolors="0.3",
                linewidths=0.4,
                label=f"{label} ({int(members.sum())} codes)",
            )
        axis.set(xlabel="times chosen", xscale="log")
        axis.set_title(name, fontsize=9)
        axis.grid(alpha=0.3)
        for handle in axis.legend(frameon=False, fontsize=8, loc="lower left").legend_handles:
            handle.set(array=None, facecolor="white")  # the shape alone: the first code's colour says nothing
    panels[0].set(ylabel="distance to the nearest other code", ylim=(0.0, None))
    bar = figure.colorbar(drawn, ax=list(panels), aspect=25, pad=0.02)
    bar.set_label("share of object pixels", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.suptitle(title, fontsize=10)
    return figure
