"""The mask explorer: move the mask ratio, see what is kept, what comes back, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import ipywidgets as widgets
from torch import Tensor

from mvqlab.data import PictureDataset, build_splits
from mvqlab.evaluation.images.masked_image import EncodedImage, require_scores
from mvqlab.models.mqvae import TokenModel
from mvqlab.support.pretrained import MissingWeightsError
from mvqlab.training.losses import PerceptualLoss
from mvqlab.widgets.elements import (
    Instrument,
    Message,
    classed,
    control,
    figure,
    note,
    remark,
    row,
    side_by_side,
    style,
)
from mvqlab.widgets.mask_setting import MaskSetting
from mvqlab.widgets.picture_bytes import heat_map, pixels_of
from mvqlab.widgets.picture_file import PictureFile, picture_from
from mvqlab.zoo.shipped import load_shipped_stage1, those_shipped

EMOJI = "emoji, for all mask ratios"
ANYTHING = "anything, for all mask ratios"
GARMENTS = "garments, for half dropped"
SCENES = "simple scenes, for half dropped"
MODELS = {
    EMOJI: "emoji_mqvae",
    ANYTHING: "anything_mqvae",
    GARMENTS: "fashion_mqvae",
    SCENES: "simple_mqvae",
}
STOPS = {  # held-out images to begin with, by number; the first is shown first
    EMOJI: [31, 46, 15, 39, 16, 41, 44, 18, 54, 65],
    ANYTHING: [31, 5, 21, 7, 35, 45, 12, 40],
    GARMENTS: [3, 6, 18, 15, 26, 30, 7, 9],
    SCENES: [0, 1, 2, 3, 4, 5, 6, 7],
}
OWN = -1  # in place of a held-out image's number: the picture of one's own
OF_ANYTHING = (
    "Shown by the model of anything, which has learned from emoji, photographs and simple scenes. A picture "
    "of another kind is foreign to it, and what comes back shows that."
)
FOREIGN = (
    "Your picture is foreign to this model, which has learned from {kind} alone. What comes back is made of "
    "what it knows."
)


class OwnPicture(NamedTuple):
    """An image file that was chosen and could be read: its name, and its bytes."""

    name: str
    content: bytes


class MaskExplorer(Instrument):
    """Pick an image, move the mask ratio, compare two settings.

    models: names of the choice and the models behind them, with learned scores each; default: those that
    come with mvqlab, of which the one for anything takes over when a picture of one's own comes. lpips: the
    network of the LPIPS number (vgg, alex, squeeze, random, none); one whose weights are not on this machine
    is replaced by the untrained one, and named so.
    """

    def __init__(self, models: Mapping[str, TokenModel] | None = None, lpips: str = "alex") -> None:
        super().__init__()
        if models is None:
            models = {words: load_shipped_stage1(name) for words, name in those_shipped(MODELS).items()}
        self.models = {words: require_scores(model) for words, model in models.items()}
        self.perceptual = _perceptual(lpips)
        self.own: OwnPicture | None = None  # the last that could be read
        self.shows_own = False
        self.is_switching = False  # while one control moves others, these stand still
        self.encoded: EncodedImage | None = None  # until the first image, as is the caption
        self.caption = ""
        self.dataset: PictureDataset | None = None
        self.model = control(widgets.Dropdown(options=list(self.models), description="model"))
        self.stop = control(widgets.Dropdown(description="image"))
        self.number = control(widgets.BoundedIntText(min=0, max=0, description="or by number"), is_short=True)
        self.file = PictureFile()
        self.remark = classed(widgets.HTML(), "mvqlab-warning")
        self.credit = widgets.HTML()
        self.compares = widgets.Checkbox(
            value=False,
            description="compare with a second setting",
            indent=False,
            layout=widgets.Layout(width="auto"),
        )
        self.message = Message()
        self.original = classed(widgets.HTML(), "mvqlab-original")
        self.chosen = self.models[self.model.value]
        self.first = MaskSetting("a")
        self.second = MaskSetting("b", mask="random")
        self.second.layout.display = "none"
        self.model.observe(self.message.guard(self._change_model), "value")
        self.number.observe(self.message.guard(self._take_held_out), "value")
        self.stop.observe(self.message.guard(self._take_stop), "value")
        self.file.observe(self.message.guard(self._take_own), "chosen")
        self.compares.observe(self.message.guard(self._show_second), "value")
        source = classed(widgets.VBox([self.original, self.remark]), "mvqlab-source")
        self.panels = classed(
            widgets.Box([source, self.first, self.second]), "mvqlab-side-by-side", "mvqlab-explorer"
        )
        self.children = [
            style(),
            row(self.model, self.stop, self.number),
            row(self.file, self.compares, self.large),
            self.message,
            self.panels,
            self.credit,
            note(
                "Dropped regions are inferred from the kept ones. Bits: N log2 K for the codes and "
                "log2 C(L, N) for their places, nothing learned. PSNR: higher is closer. Perceptual "
                "distance: lower is closer; by an untrained network it compares pictures of one page. "
                "No held-out image was trained on."
            ),
        ]
        self.message.guard(self._change_model)()
        if not self.message.value:
            self._show()  # once more: the first time that is told holds what torch sets up

    def _change_model(self) -> None:
        """Show the chosen model's own held-out images, or once more the picture of one's own."""
        if self.is_switching:
            return
        self.chosen = self.models[self.model.value]
        if self.shows_own:
            self._begin()
            self._show_own()
        self._offer_held_out()
        if not self.shows_own:
            self._begin()
            self._show_held_out()

    def _begin(self) -> None:
        """Move the mask ratio to where the chosen model is judged; an image is shown next."""
        for setting in (self.first, self.second):
            setting.encoded = None  # of the model before: the new ratio is not for it
            setting.mask_ratio.value = self.chosen.config.mask.ratio_in_use

    def _offer_held_out(self) -> None:
        """Let the controls choose among the images of the chosen model's data. Raises DataError."""
        self.credit.value = ""
        self.dataset = None
        own = [(f"your picture: {self.own.name}", OWN)] if self.own else []
        with self._switching():
            self.stop.options = own
            self.stop.value = OWN if self.shows_own else None
        splits = build_splits(self.chosen.config.data)
        self.dataset = splits.validation
        offered = [number for number in STOPS.get(self.model.value, range(10)) if number < len(self.dataset)]
        with self._switching():
            self.stop.options = [(f"{number}: {self._caption(number)}", number) for number in offered] + own
            self.number.max = len(self.dataset) - 1
            self.number.value = offered[0]
            self.stop.value = OWN if self.shows_own else offered[0]
        self.credit.value = remark(splits.credit)

    def _caption(self, number: int) -> str:
        assert self.dataset is not None
        return self.dataset.caption(number) or "a photograph"

    @contextmanager
    def _switching(self) -> Iterator[None]:
        self.is_switching = True
        try:
            yield
        finally:
            self.is_switching = False

    def _take_stop(self) -> None:
        if self.is_switching or self.stop.value is None:
            return
        if self.stop.value == OWN:
            self._show_own()
            return
        with self._switching():
            self.number.value = self.stop.value
        self._take_held_out()

    def _take_held_out(self) -> None:
        if self.is_switching:
            return
        if self.dataset is None:
            self._offer_held_out()
        with self._switching():
            known = [number for _, number in self.stop.options]
            self.stop.value = self.number.value if self.number.value in known else None
        self._show_held_out()

    def _take_own(self) -> None:
        self.file.image(self.chosen.config.data.resolution)  # what is no picture changes nothing
        self.own = OwnPicture(str(self.file.chosen["name"]), self.file.content)
        if not self.shows_own and ANYTHING in self.models:
            with self._switching():
                self.model.value = ANYTHING
            self.chosen = self.models[ANYTHING]
            self._begin()
        self._show_own()
        self._offer_held_out()

    def _show_held_out(self) -> None:
        assert self.dataset is not None
        number = self.number.value
        image = self.dataset[number]["image"]
        self.shows_own = False
        self._encode(image, f"original: held-out image {number}, {self._caption(number)}")

    def _show_own(self) -> None:
        assert self.own is not None
        image = picture_from(self.own.content, self.own.name, self.chosen.config.data.resolution)
        self.shows_own = True
        self._encode(image, f"original: your picture, {self.own.name}")

    def _show_second(self) -> None:
        self.second.layout.display = "" if self.compares.value else "none"
        (self.panels.add_class if self.compares.value else self.panels.remove_class)("mvqlab-two")
        if self.encoded is None:
            self._take_held_out()  # says once more what is missing, or shows what has come meanwhile
        else:
            self._show()

    def _encode(self, image: Tensor, caption: str) -> None:
        """Run the encoder and the scorer: once an image. Its name and number are what is shown."""
        self.encoded = EncodedImage(self.chosen, image, self.perceptual)
        self.caption = caption
        self.file.shown = self.own.name if self.own and self.shows_own else ""
        self.number.layout.visibility = "hidden" if self.shows_own else "visible"
        self.remark.value = remark(self._warning(), "status")
        self._show()

    def _warning(self) -> str:
        """What a visitor has to know who looks at a picture of their own."""
        if not self.shows_own:
            return ""
        if self.model.value == ANYTHING:
            return OF_ANYTHING
        words = self.model.value
        return FOREIGN.format(
            kind=words.partition(",")[0] if words in MODELS else self.chosen.config.data.name
        )

    def _show(self) -> None:
        encoded = self.encoded
        assert encoded is not None
        side = encoded.model.side
        scores = encoded.scores.view(side, side)
        pictures = [
            figure(pixels_of(encoded.image), self.caption, lines=2),
            figure(
                heat_map(scores),
                f"scores, {float(scores.min()):.2f} (dark) to {float(scores.max()):.2f}",
                "score of each region, bright where important",
                lines=2,
            ),
        ]
        self.original.value = side_by_side(pictures)
        self.first.show(encoded)
        if self.compares.value:
            self.second.show(encoded)


def _perceptual(net: str) -> PerceptualLoss | None:
    if net == "none":
        return None
    try:
        return PerceptualLoss(net)
    except MissingWeightsError:
        return PerceptualLoss("random")
