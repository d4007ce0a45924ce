"""Figures: rows of images, masks and score maps, curves, and metrics over a grid's table.

Every function returns a matplotlib Figure; `draw_all` writes the figures of a finished grid. Colours are
seaborn's colour-blind palette, maps are cividis, and no meaning hangs on colour alone.
"""

import sys

from mvqlab.plots.codes import (
    Cells,
    Cloud,
    PatchPair,
    code_cells,
    code_clouds,
    code_density,
    distance_curves,
    patch_pairs,
    spectra,
)
from mvqlab.plots.corners import corner_lines
from mvqlab.plots.grid_figures import draw_all
from mvqlab.plots.grid_panels import (
    curve_range,
    curves,
    lines,
    metric_bars,
    metric_spread,
    ratio_bars,
    summary_lines,
)
from mvqlab.plots.method.attention import attention_matrices, kept_shares, trust_over_layers
from mvqlab.plots.method.maps import map_rows, score_map
from mvqlab.plots.method.sequences import laws, logit_change_maps, loss_by_place, pair_orders
from mvqlab.plots.method.street import street
from mvqlab.plots.method.walk import code_grid, pair_strip, principal_maps, stations
from mvqlab.plots.over_guidance import asked_for_over_guidance, guidance_lines
from mvqlab.plots.overfitting import overfitting_curves
from mvqlab.plots.picture_rows import hide_dropped, image_rows, masks, nearest_training
from mvqlab.plots.ratios import beside_published, paired_differences, rate_distortion
from mvqlab.plots.regions import (
    auc_over_steps,
    correlation_dots,
    cost_shares,
    mask_agreement,
    score_histogram,
)
from mvqlab.plots.rivals import rival_trade_offs
from mvqlab.plots.sheet import contact_sheet
from mvqlab.plots.style import save_figure
from mvqlab.plots.trade_off import precision_recall_curves, precision_recall_plane, rounds, trade_off
from mvqlab.plots.two_judges import two_judges

__all__ = [
    "Cells",
    "Cloud",
    "PatchPair",
    "asked_for_over_guidance",
    "attention_matrices",
    "auc_over_steps",
    "beside_published",
    "code_cells",
    "code_clouds",
    "code_density",
    "code_grid",
    "contact_sheet",
    "corner_lines",
    "correlation_dots",
    "cost_shares",
    "curve_range",
    "curves",
    "distance_curves",
    "draw_all",
    "guidance_lines",
    "hide_dropped",
    "image_rows",
    "kept_shares",
    "laws",
    "lines",
    "logit_change_maps",
    "loss_by_place",
    "map_rows",
    "mask_agreement",
    "masks",
    "metric_bars",
    "metric_spread",
    "nearest_training",
    "overfitting_curves",
    "pair_orders",
    "pair_strip",
    "paired_differences",
    "patch_pairs",
    "precision_recall_curves",
    "precision_recall_plane",
    "principal_maps",
    "rate_distortion",
    "ratio_bars",
    "rival_trade_offs",
    "rounds",
    "save_figure",
    "score_histogram",
    "score_map",
    "spectra",
    "stations",
    "street",
    "summary_lines",
    "trade_off",
    "trust_over_layers",
    "two_judges",
]


def _show_figures_in_notebooks() -> None:
    """Let a notebook show a Figure as a picture: it does so by itself only for those that pyplot manages."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        # where IPython runs, it is imported already; elsewhere it would take long
        from IPython.core.pylabtools import select_figure_formats

        select_figure_formats(shell, {"retina"}, bbox_inches="tight")


_show_figures_in_notebooks()
