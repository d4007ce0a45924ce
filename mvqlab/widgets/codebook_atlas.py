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
from mvqlab.widgets.elements import Message, figure, note, reading, row, style
from mvqlab.zoo.shipped import load_shipped_stage1, those_shipped

PATCH = 64  # pixels of a patch on the screen
WIDTH = 390  # pixels of a map: three stand side by side in 1280
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
        self.points = CodePoints(label=name, width=WIDTH)
        self.points.place(plane.codes, self.counts)
        self.code = widgets.BoundedIntText(
            0, 0, coded.model.codebook_size - 1, description="code", layout=widgets.Layout(width="160px")
        )
        widgets.link((self.points, "chosen"), (self.code, "value"))
        self.about, self.detail = widgets.HTML(), widgets.HTML()
        self.code.observe(self.message.guard(self.show), "value")
        usage = codebook_usage(coded.codes, coded.model.codebook_size)
        redundancy = codebook_redundancy(coded.model.codebook, self.counts)
        head = (
            f"<b>{name}</b><br>{redundancy.n_codes} of {coded.model.codebook_size} codes in use, perplexity "
            f"{usage.perplexity:.0f}, effective rank {redundancy.effective_rank:.1f}, near-duplicates "
            f"{redundancy.near_duplicate_share:.1%}<br>the plane holds {float(plane.explained.sum()):.0%} "
            "of the codes' variance"
        )
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
        self.layout.width = f"{WIDTH + 10}px"
        self.code.value = int(self.counts.argmax())
        self.show()

    def show(self) -> None:
        """Show the regions nearest to the chosen code, and the codes nearest to it."""
        code = self.code.value
        count = int(self.counts[code])
        share = count / len(self.coded.codes)
        used = f"taken {count} times, {share:.2%} of the regions" if count else "not in use"
        self.about.value = reading(f"code {code}: {used}", f"mvqlab-code-{self.key}")
        near = self.coded.near(code)
        shown = [
            figure(patch, "took it" if took_it else "took another", PATCH, f"region near code {code}")
            for patch, took_it in zip(near.patches, near.took_it.tolist(), strict=True)
        ]
        others = self.coded.neighbours(code) if count else []
        self.points.neighbours = [pair.second for pair in others]
        beside = [
            figure(
                self.coded.near(pair.second, 1).patches[0],
                f"{pair.second}: {pair.distance:.2f}{' ≈' if pair.distance < NEAR_SHARE else ''}",
                PATCH,
                f"code {pair.second}, at {pair.distance:.2f} of the mean distance",
            )
            for pair in others
        ]
        self.detail.value = (
            '<div class="mvqlab-note">regions nearest to it</div>'
            f'<div class="mvqlab-codes">{"".join(shown)}</div>'
            '<div class="mvqlab-note">codes nearest to it (framed in the map)</div>'
            f'<div class="mvqlab-codes">{"".join(beside)}</div>'
        )


class CodebookAtlas(widgets.VBox):
    """Codebooks side by side: emoji, and garments in MQ-VAE and plain VQ; or the `models` given by name.

    A model whose held-out images are not on this machine is left out, and the message says how to get them.
    """

    def __init__(self, models: Mapping[str, TokenModel] | None = None) -> None:
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
        super().__init__(
            [
                style(),
                self.message,
                row(*self.maps),
                note(". ".join(dict.fromkeys(filter(None, credits)))),
                note(
                    "Codes on their two principal components, as large as they are taken often over 256 "
                    "held-out images; crosses are not in use. Distances are shares of the mean distance "
                    f"between codes; ≈ marks near-duplicates, under {NEAR_SHARE}. A region is shown with its "
                    "surroundings."
                ),
            ]
        )
