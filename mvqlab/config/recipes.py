"""How learned scores come about, by name: what `mask.recipe` fills in where nothing else is said.

    paper      kept features times their scores, which learn by that product alone (section 3.1)
    released   the same, scored by the released code's convolutions with norms
    taught     no product: scores learn to tell what dropped regions lose, and for the first half of training
               noise on them lets every region come to its turn. This lab's, see ablations/PROTOCOL.md

Only masks that choose by learned scores have a recipe: `mask.kind: adaptive`, and `dual_grain`, whose scores
are taught what coarse blocks lose, and by `paper` learn by its gates. All others, an arm of one's own and
`upside_down` too, train by `paper` whatever a preset says. Where one of its settings is
given besides, that one stands, and the recipe is called `own`: what is written down of a run says each
setting, and is read back as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Recipe = Literal["paper", "released", "taught", "own"]
OWN: Recipe = "own"
PAPER: Recipe = "paper"


def settings_of(recipe: str, stage1_steps: int) -> dict[str, Any]:
    """The settings that `recipe` stands for, by dotted name; none for `paper`, whose are the defaults."""
    if recipe == "released":
        return {"mask.scorer": "conv", "mask.scorer_norm": True}
    if recipe == "taught":
        return {
            "mask.product": "none",
            "mask.exploration": 1.0,
            "mask.exploration_steps": stage1_steps // 2,
            "loss.scorer_weight": 0.1,
        }
    return {}


def filled_in(settings: Mapping[str, Any], stage1_steps: int) -> dict[str, Any]:
    """Nested plain `settings` with those of their `mask.recipe`; other sections than `mask` and `loss` stay.

    stage1_steps: of training, where `settings` name none. What is no settings at all comes back as it is, for
    whoever checks them.
    """
    given = [settings.get(name) or {} for name in ("mask", "loss", "stage1")]
    if not all(isinstance(section, Mapping) for section in given):
        return dict(settings)
    sections = {name: dict(section) for name, section in zip(("mask", "loss"), given, strict=False)}
    if "recipe" not in sections["mask"]:
        return dict(settings)
    recipe = sections["mask"]["recipe"]
    if sections["mask"].get("kind", "adaptive") not in ("adaptive", "dual_grain"):
        sections["mask"]["recipe"] = PAPER
        return {**settings, "mask": sections["mask"]}
    steps = given[2].get("steps", stage1_steps)
    if not isinstance(steps, int):
        return dict(settings)
    for name, value in settings_of(recipe, steps).items():
        section, _, leaf = name.partition(".")
        if sections[section].setdefault(leaf, value) != value:
            sections["mask"]["recipe"] = OWN
    filled = {name: section for name, section in sections.items() if section or name in settings}
    return {**settings, **filled}
