"""Figures: rows of images, masks and score maps, curves, and metrics over a grid's table.

Every function returns a matplotlib Figure; `draw_all` writes the figures of a finished grid. Colours are
seaborn's colour-blind palette, maps are cividis, and no meaning hangs on colour alone.
"""

import sys

from mvqlab.plots.codebook import Cloud, code_clouds
from mvqlab.plots.grid import draw_all, save_figure
from mvqlab.plots.images import hide_dropped, image_rows, masks
from mvqlab.plots.tables import curves, lines, metric_bars, ratio_bars, summary_lines

__all__ = [
    "Cloud",
    "code_clouds",
    "curves",
    "draw_all",
    "hide_dropped",
    "image_rows",
    "lines",
    "masks",
    "metric_bars",
    "ratio_bars",
    "save_figure",
    "summary_lines",
]


def _show_figures_in_notebooks() -> None:
    """Let a notebook show a Figure as a picture: it does so by itself only for those that pyplot manages."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        from IPython.core.pylabtools import select_figure_formats

        select_figure_formats(shell, {"retina"}, bbox_inches="tight")


_show_figures_in_notebooks()
