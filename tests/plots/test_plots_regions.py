"""Figures of scores against objects say what their tables hold."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from mvqlab import plots

AGREEMENT = pd.DataFrame(
    {
        "score_auc": [0.9, 0.5],
        "kept_iou": [0.25, 0.1],
        "kept_iou_chance": [0.1, 0.1],
        "kept_iou_best": [0.3, 0.3],
    },
    index=["learned", "random"],
)


def test_each_group_of_a_histogram_adds_up_to_one() -> None:
    scores = torch.tensor([[0.1, 0.2, 0.3, 0.8], [0.4, 0.9, 0.15, 0.7]])
    important = torch.tensor([[False, False, False, True], [False, True, False, True]])
    axis = plots.score_histogram(scores, important, threshold=0.35).axes[0]
    totals = [sum(bar.get_height() for bar in bars) for bars in axis.containers]
    assert totals == pytest.approx([1.0, 1.0])
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert labels[:2] == ["on an object (3 regions)", "beside the objects (5 regions)"]
    on_objects = [bar.get_x() for bar in axis.containers[0] if bar.get_height() > 0]
    assert min(on_objects) > 0.65  # the important regions score 0.7, 0.8 and 0.9
    assert axis.lines[0].get_xdata()[0] == 0.35


def test_agreement_has_a_bar_a_mask_between_chance_and_best() -> None:
    left, right = plots.mask_agreement(AGREEMENT).axes[:2]
    assert [bar.get_width() for bar in left.patches] == [0.9, 0.5]
    assert [bar.get_width() for bar in right.patches] == [0.25, 0.1]
    assert [tick.get_text() for tick in left.get_yticklabels()] == ["learned", "random"]
    chance, best = right.collections
    assert np.allclose(chance.get_offsets()[:, 0], 0.1) and np.allclose(best.get_offsets()[:, 0], 0.3)
    assert [text.get_text() for text in left.texts] == ["0.90", "0.50"]


def test_every_seed_has_a_line_of_its_own() -> None:
    """Averaged over seeds, a scorer that ends upside down would vanish."""
    rows = [
        {"step": step, "auc": 0.5 + sign * 0.04 * step, "seed": seed, "mask": mask}
        for mask in ("product", "no product")
        for seed, sign in ((0, 1), (1, -1))
        for step in (0, 5, 10)
    ]
    axis = plots.auc_over_steps(pd.DataFrame(rows), "mask").axes[0]
    ends = [line.get_ydata()[-1] for line in axis.lines if len(line.get_ydata()) == 3]
    assert sorted(ends) == pytest.approx([0.1, 0.1, 0.9, 0.9])
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["product", "no product"]
