"""A codebook among the features that choose its codes, seen in two dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import seaborn as sns
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from torch import Tensor


class Cloud(NamedTuple):
    """Features (M, 2), codes (K, 2), and how often each code was chosen (K,)."""

    features: Tensor
    codes: Tensor
    counts: Tensor


def code_clouds(clouds: Mapping[str, Cloud], title: str = "", axis_name: str = "dimension") -> Figure:
    """A panel a cloud: features as dots, codes in use as discs that grow with use, unused ones as crosses.

    Where there are many codes the discs are smaller, so that they do not hide each other.
    """
    figure = Figure(figsize=(3.4 * len(clouds) + 0.4, 3.9), layout="constrained")
    palette = sns.color_palette("colorblind")
    for axis, (name, cloud) in zip(
        figure.subplots(1, len(clouds), squeeze=False)[0], clouds.items(), strict=True
    ):
        is_used = cloud.counts > 0
        scale = min(1.0, 100 / len(cloud.codes))
        sizes = scale * (20 + 130 * (cloud.counts[is_used] / cloud.counts.max().clamp(min=1)).numpy())
        axis.scatter(*cloud.features.T.numpy(), s=4, color="0.72", linewidths=0, label="features")
        axis.scatter(
            *cloud.codes[is_used].T.numpy(),
            s=sizes,
            color=palette[0],
            edgecolors="white",
            linewidths=1.5 * scale**0.5,
            label="codes in use",
        )
        axis.scatter(
            *cloud.codes[~is_used].T.numpy(), s=28, color=palette[3], marker="x", label="codes not in use"
        )
        axis.set(xlabel=f"{axis_name} 1", ylabel=f"{axis_name} 2")
        axis.set_title(f"{name}\n{int(is_used.sum())} of {len(is_used)} codes in use", fontsize=9)
        axis.set_aspect("equal", adjustable="datalim")
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure
