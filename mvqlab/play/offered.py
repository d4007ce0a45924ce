"""What the page offers: which shipped models each instrument shows, with what words and which images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mvqlab.data import DataError, PictureDataset, build_splits, class_names
from mvqlab.widgets import codebook_atlas, generation_player, mask_explorer
from mvqlab.zoo.shipped import shipped_card, shipped_config, shipped_names


@dataclass(frozen=True)
class Offered:
    """The models of the instruments, each as the page's script reads it, and why some are left out.

    explorer, player, atlas: a dictionary a model, with its name as "model" and its "words".
    left_out: a line a model whose images are not on this machine.
    """

    explorer: list[dict[str, Any]]
    player: list[dict[str, Any]]
    atlas: list[dict[str, Any]]
    left_out: list[str]

    @property
    def models(self) -> list[str]:
        """Names of all models that the page runs, without repetition."""
        named = [one["model"] for one in (*self.explorer, *self.player, *self.atlas)]
        named += [
            one[key] for one in self.player for key in ("beside", "stage1", "stage1_beside") if one[key]
        ]
        return list(dict.fromkeys(named))


def offered(names: list[str] | None = None) -> Offered:
    """What the page offers of the shipped models `names`; default: all that the notebook's widgets show.

    A model that explores or fills an atlas needs its held-out images; without them it is left out.
    """
    wanted = [name for name in shipped_names() if names is None or name in names]
    with_images: dict[str, PictureDataset] = {}
    left_out = []
    of_stage1 = {*mask_explorer.MODELS.values(), *codebook_atlas.MODELS.values()} & set(wanted)
    for name in sorted(of_stage1):
        try:
            with_images[name] = build_splits(shipped_config(name).data).validation
        except DataError as error:
            left_out.append(f"{name}: {error}")
    explorer = [_explored(words, name) for words, name in mask_explorer.MODELS.items() if name in with_images]
    atlas = [
        {"model": name, "words": words, "credit": _credit(name)}
        for words, name in codebook_atlas.MODELS.items()
        if name in with_images
    ]
    has_atlas = {one["model"] for one in atlas}
    player = [
        _played(words, name, wanted, has_atlas)
        for words, name in generation_player.MODELS.items()
        if name in wanted
    ]
    return Offered(explorer, player, atlas, left_out)


def _explored(words: str, name: str) -> dict[str, Any]:
    """A model of the mask explorer; numbers of its held-out images, whose files come later."""
    ratio = round(100 * shipped_config(name).mask.ratio_in_use)
    return {
        "model": name,
        "words": words,
        "ratio": ratio,
        "takes_any_picture": words == mask_explorer.ANYTHING,
        "images": [{"number": number} for number in mask_explorer.STOPS[words]],
        "credit": _credit(name),
    }


def _played(words: str, name: str, wanted: list[str], has_atlas: set[str]) -> dict[str, Any]:
    """A model of the generation player, and the raster transformer beside it."""
    beside = generation_player.BESIDE.get(name)
    if beside not in wanted:
        beside = None
    stage1 = shipped_card(name)["stage1"]
    first = generation_player.FIRST_CLASS.get(name)
    names = class_names(shipped_config(name).data)
    return {
        "model": name,
        "words": words,
        "beside": beside,
        "title_beside": generation_player.title_beside(beside),
        "stage1": stage1,
        "stage1_beside": shipped_card(beside)["stage1"] if beside else None,
        "first_class": names.index(first) if first in names else 0,
        "atlases": sorted(has_atlas),
        "credit": _credit(name),
    }


def _credit(name: str) -> str:
    return shipped_card(name).get("credit", "")
