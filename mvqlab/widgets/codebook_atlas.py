"""The codebook atlas: codes on their principal plane, and what each of them stands for."""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets as widgets

from mvqlab.data import DataError, credit_of
from mvqlab.evaluation.codebook.plane import principal_plane
from mvqlab.evaluation.codebook.usage import NEAR_SHARE, codebook_redundancy, codebook_usage
from mvqlab.models.mqvae import TokenModel
from mvqlab.widgets.code_points import CodePoints
from mvqlab.widgets.coded_images import CodedImages, code_images
from mvqlab.widgets.elements import (
    Instrument,
    Message,
    classed,
    control,
    figure,
    note,
    reading,
    remark,
    row,
    side_by_side,
    style,
)
from mvqlab.zoo.shipped import load_shipped_stage1, those_shipped

N_REGIONS = 8  # of a code
MODELS = {
    "Emoji, MQ-VAE, three quarters of the regions dropped": "emoji_mqvae",
    "Garments, MQ-VAE, half of the regions dropped": "fashion_mqvae",
    "Garments, plain VQ": "fashion_plain_vq",
}


class CodeMap(widgets.VBox):
    """The codebook of one model: a map of its codes, and the chosen one's regions and neighbours."""

    def __init__(self, name: str, coded: CodedImages, key: str) -> None:
        self.coded, self.key = coded, key
        self.counts = coded.counts
        self.message = Message()
        plane = principal_plane(coded.model.codebook, coded.features, self.counts)
        self.points = CodePoints(label=name)
        self.points.place(plane.codes, self.counts)
        self.code = control(
            widgets.BoundedIntText(0, 0, coded.model.codebook_size - 1, description="code"), is_short=True
        )
        widgets.link((self.points, "chosen"), (self.code, "value"))
        self.about, self.detail = widgets.HTML(), widgets.HTML()
        self.code.observe(self.message.guard(self.show), "value")
        head = f"<b>{name}</b><br>{in_numbers(coded, float(plane.explained.sum()))}"
        super().__init__(
            [
                widgets.HTML(f'<div class="mvqlab-note">{head}</div>'),
                self.points,
                self.code,
                self.about,
                self.detail,
                self.message,
            ]
        )
        self.add_class("mvqlab-panel")
        self.code.value = int(self.counts.argmax())
        self.show()

    def show(self) -> None:
        """Show the regions nearest to the chosen code, and the codes nearest to it."""
        code = self.code.value
        count = int(self.counts[code])
        share = count / len(self.coded.codes)
        times = "once" if count == 1 else f"{count} times"
        used = f"taken {times}, by {share:.2%} of the regions" if count else "not in use"
        self.about.value = reading(f"code {code}: {used}", f"mvqlab-code-{self.key}")
        near = self.coded.near(code, N_REGIONS)
        patches = [
            figure(patch, "took it" if took_it else "took another", f"region near code {code}", lines=2)
            for patch, took_it in zip(near.patches, near.took_it.tolist(), strict=True)
        ]
        others = self.coded.neighbours(code) if count else []
        self.points.neighbours = [pair.second for pair in others]
        beside = [
            figure(
                self.coded.near(pair.second, 1).patches[0],
                f"{pair.second}: {pair.distance:.2f}{' ≈' if pair.distance < NEAR_SHARE else ''}",
                f"code {pair.second}, at {pair.distance:.2f} of the mean distance",
            )
            for pair in others
        ]
        self.detail.value = (
            remark(_of_regions(count))
            + side_by_side(patches, "patches")
            + remark("codes nearest to it (framed in the map), each by a region that took it")
            + side_by_side(beside, "patches")
        )


def in_numbers(coded: CodedImages, explained: float) -> str:
    """A codebook in numbers and words; explained: share of the codes' variance that its map shows."""
    size = coded.model.codebook_size
    usage = codebook_usage(coded.codes, size)
    redundancy = codebook_redundancy(coded.model.codebook, coded.counts)
    return (
        f"{redundancy.n_codes} of {size} codes in use, as varied as {usage.perplexity:.0f} that are taken "
        f"equally often; {redundancy.near_duplicate_share:.1%} are near-duplicates; they spread over "
        f"{redundancy.effective_rank:.1f} directions, of which the map shows two, {explained:.0%} of the "
        "variance"
    )


def _of_regions(count: int) -> str:
    """What the regions below are, where `count` took the code."""
    if count == 0:
        return "no region took it; these are nearest to it"
    if count >= N_REGIONS:
        return f"what it stands for: {N_REGIONS} of the {count} regions that took it"
    taken = "the region that took it" if count == 1 else f"the {count} regions that took it"
    return f"what it stands for: {taken}; then the nearest that took another code"


class CodebookAtlas(Instrument):
    """Codebooks side by side: emoji, and garments in MQ-VAE and plain VQ; or the `models` given by name.

    A model whose held-out images are not on this machine is left out, and the message says how to get them.
    """

    def __init__(self, models: Mapping[str, TokenModel] | None = None) -> None:
        super().__init__()
        if models is None:
            models = {words: load_shipped_stage1(name) for words, name in those_shipped(MODELS).items()}
        self.message = Message()
        self.maps: list[CodeMap] = []
        credits: list[str] = []
        for number, (name, model) in enumerate(models.items()):
            try:
                self.maps.append(CodeMap(name, code_images(model), str(number)))
            except DataError as error:
                self.message.tell(f"{name}: {error}")
            else:
                credits.append(credit_of(model.config.data))
        self.children = [
            style(),
            row(
                note(
                    "A code stands for the regions that take it. Every disc is a code, the larger, the more "
                    "often it is taken over 256 held-out images; crosses are not in use. Codes that lie "
                    "close together say much the same. Choose one by a click, the arrow keys or its number."
                ),
                self.large,
            ),
            self.message,
            classed(widgets.Box(self.maps), "mvqlab-side-by-side", "mvqlab-maps"),
            note(". ".join(dict.fromkeys(filter(None, credits)))),
            note(
                "The map shows the codes' two principal components. Distances are shares of the mean "
                f"distance between codes; ≈ marks near-duplicates, under {NEAR_SHARE}. A region is shown "
                "with its surroundings. Perplexity is the number of codes that, taken equally often, would "
                "be as varied; effective rank the number of directions that they spread over."
            ),
        ]
