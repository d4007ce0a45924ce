"""Figures of codebooks' redundancy, of pieces of images, and of what regions cost."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from mvqlab import plots


def drawn(figure: Figure) -> Figure:
    figure.canvas.draw()
    return figure


def legend_of(axis) -> list[str]:
    return [text.get_text() for text in axis.get_legend().get_texts()]


def test_spectra_mark_the_effective_rank() -> None:
    shares = {"plain": torch.tensor([0.7, 0.2, 0.1]), "masked": torch.tensor([0.4, 0.3, 0.3])}
    axis = drawn(plots.spectra(shares, {"plain": 2.23, "masked": 2.97})).axes[0]
    assert legend_of(axis) == ["plain: effective rank 2.2", "masked: effective rank 3.0"]
    assert axis.lines[0].get_ydata().tolist() == pytest.approx([0.7, 0.2, 0.1])
    assert axis.lines[1].get_xdata()[0] == 2.23
    assert axis.lines[0].get_linestyle() != axis.lines[3].get_linestyle()


def test_distance_curves_are_cumulative_shares_without_codes_out_of_use() -> None:
    distances = {"plain": torch.tensor([0.3, torch.nan, 0.1, 0.2, 0.4])}
    twins = {"plain": torch.tensor([0.5, 0.6])}
    axis = drawn(plots.distance_curves(distances, twins, threshold=0.15)).axes[0]
    codes, twin, line = axis.lines
    assert codes.get_xdata()[1:].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert codes.get_ydata()[1:].tolist() == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert twin.get_linestyle() == "--" and line.get_xdata()[0] == 0.15
    assert legend_of(axis) == ["plain", "normal twin of plain"]


def test_density_parts_ground_from_objects_by_shape() -> None:
    counts = {"plain": torch.tensor([9, 3, 0, 1])}
    distances = {"plain": torch.tensor([0.1, 0.2, torch.nan, 0.4])}
    coverage = {"plain": torch.tensor([0.0, 0.1, torch.nan, 0.9])}
    axis = drawn(plots.code_density(counts, distances, coverage)).axes[0]
    ground, objects = axis.collections
    assert ground.get_offsets().tolist() == [pytest.approx([9, 0.1]), pytest.approx([3, 0.2])]
    assert objects.get_offsets().tolist() == [pytest.approx([1, 0.4])]
    assert legend_of(axis) == ["mostly ground (2 codes)", "mostly object (1 codes)"]
    assert not np.array_equal(ground.get_paths()[0].vertices, objects.get_paths()[0].vertices)


def test_many_codes_get_small_discs() -> None:
    def size(n: int) -> float:
        cloud = plots.Cloud(torch.randn(5, 2), torch.randn(n, 2), torch.ones(n))
        return float(drawn(plots.code_clouds({"a": cloud})).axes[0].collections[1].get_sizes()[0])

    assert size(16) == size(100) == pytest.approx(150)
    assert size(500) == pytest.approx(30)


def test_clouds_stand_on_one_part_of_the_plane_and_none_is_cut_off() -> None:
    near = plots.Cloud(torch.tensor([[0.0, 0.0], [2.0, 1.0]]), torch.zeros(2, 2), torch.tensor([2, 0]))
    far = plots.Cloud(torch.tensor([[9.0, 1.0], [8.0, 5.0]]), torch.ones(1, 2), torch.tensor([2]))
    first, second = drawn(plots.code_clouds({"near": near, "far": far})).axes
    assert first.get_xlim() == second.get_xlim() and first.get_ylim() == second.get_ylim()
    (left, right), (bottom, top) = first.get_xlim(), first.get_ylim()
    assert left < 0.0 and right > 9.0 and bottom < 0.0 and top > 5.0
    assert right - left == pytest.approx(top - bottom)


def test_patch_pairs_show_both_codes_with_their_regions_framed() -> None:
    first = np.full((2, 6, 6, 3), 10, dtype=np.uint8)
    second = np.full((3, 6, 6, 3), 90, dtype=np.uint8)
    figure = drawn(plots.patch_pairs([plots.PatchPair("near", first, second)], title="codes"))
    left, right = figure.axes
    sheet = left.images[0].get_array()
    assert sheet.shape == right.images[0].get_array().shape == (6, 3 * 8 - 2, 3)
    assert (sheet[:, :6] == 10).all() and (sheet[:, 6:8] == 255).all() and (sheet[:, 16:] == 255).all()
    frames = right.patches[::2]
    assert [frame.get_xy() for frame in frames] == [(1.5, 1.5), (9.5, 1.5), (17.5, 1.5)]
    assert frames[0].get_width() == 2.0  # a third of the piece
    assert left.get_ylabel() == "near"


def test_pairs_without_context_are_framed_whole() -> None:
    pieces = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    figure = drawn(plots.patch_pairs([plots.PatchPair("", pieces, pieces)], context=0))
    frame = figure.axes[0].patches[0]
    assert (frame.get_xy(), frame.get_width()) == ((-0.5, -0.5), 4.0)


def test_cost_shares_sort_within_each_image_and_ignore_gains() -> None:
    costs = torch.tensor([[1.0, 3.0, 0.0, -5.0], [0.0, 0.0, 8.0, 0.0]])
    axis = drawn(plots.cost_shares({"mean": costs})).axes[0]
    curve, alike = axis.lines
    assert curve.get_xdata().tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert list(curve.get_ydata()) == pytest.approx([0.0, (0.75 + 1.0) / 2, 1.0, 1.0, 1.0])
    assert list(alike.get_ydata()) == [0.0, 1.0]


def test_an_image_without_any_cost_does_not_break_the_curve() -> None:
    axis = plots.cost_shares({"mean": torch.tensor([[1.0, 1.0], [-1.0, -2.0]])}).axes[0]
    assert list(axis.lines[0].get_ydata()) == pytest.approx([0.0, 0.5, 1.0])


def test_correlation_dots_stand_at_the_means() -> None:
    table = pd.DataFrame(
        {
            "correlation": [0.1, 0.3, 0.5, 0.7, 0.2, np.nan],
            "predictor": ["coverage"] * 4 + ["score"] * 2,
            "guess": ["mean", "mean", "neighbours", "neighbours", "mean", "neighbours"],
        }
    )
    axis = drawn(plots.correlation_dots(table)).axes[0]
    dots = [line for line in axis.lines if line.get_marker() in ("o", "s")]
    means = {line.get_marker(): line.get_xdata()[0] for line in dots if len(line.get_xdata())}
    assert means == {"o": pytest.approx(0.2), "s": pytest.approx(0.6)}
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["coverage", "score"]
    assert legend_of(axis) == ["mean", "neighbours"]


def test_cells_are_cut_where_the_code_changes() -> None:
    """Two codes, left and right of zero, and a third that nothing gets: one line, down the middle."""
    features = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    codes = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [9.0, 9.0]])
    cells = plots.Cells(features, codes, lambda points: (points[:, 0] > 0).long())
    axis = drawn(plots.code_cells({"halves": cells}, finest=50)).axes[0]
    is_border = np.asarray(axis.images[0].get_array())[..., 3] > 0
    assert is_border.sum(axis=0).nonzero()[0].tolist() == [25] and is_border[:, 25].all()
    _, used, unused = axis.collections
    assert used.get_offsets().tolist() == codes[:2].tolist() and unused.get_offsets().tolist() == [[9.0, 9.0]]
    assert axis.get_title() == "halves\n2 of 3 codes in use" and axis.get_xlim()[1] < 2.0
