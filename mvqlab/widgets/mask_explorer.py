"""The mask explorer: move the mask ratio, see what is kept, what comes back, and what that costs."""

from __future__ import annotations

import html
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import ipywidgets as widgets
from torch import Tensor

from mvqlab.data import PictureDataset, build_splits
from mvqlab.evaluation.images.choice import Rank, at_random, by_score, upside_down
from mvqlab.evaluation.images.masked_image import EncodedImage, MaskedImage, require_scores
from mvqlab.models.mqvae import TokenModel
from mvqlab.support.pretrained import MissingWeightsError
from mvqlab.training.losses import PerceptualLoss
from mvqlab.widgets.elements import Message, column, figure, note, reading, row, style
from mvqlab.widgets.mask_canvas import MaskCanvas
from mvqlab.widgets.picture_bytes import error_map, heat_map, pixels_of, png
from mvqlab.widgets.picture_file import PictureFile
from mvqlab.zoo.shipped import load_shipped_stage1, those_shipped

SIZE, SMALL_SIZE = 216, 160  # pixels of a picture on the screen; two settings side by side are smaller
RANKS: dict[str, Rank] = {"adaptive": by_score, "random": at_random, "inverted": upside_down}
PAINTED = "painted"
HINTS = {
    "adaptive": "keeps the regions that score highest",
    "random": "keeps regions drawn at random",
    "inverted": "keeps the regions that score lowest: drops the important ones",
    PAINTED: "keeps what you paint: click or drag over the regions, or use arrow keys and space bar",
}
EMOJI = "emoji, 64 × 64 pixels, trained for all mask ratios"
ANYTHING = "anything, 64 × 64 pixels, trained for all mask ratios"
MODELS = {
    EMOJI: "emoji_mqvae",
    ANYTHING: "anything_mqvae",
    "garments, 32 × 32 pixels, trained to keep half": "fashion_mqvae",
    "simple scenes, 32 × 32 pixels, trained to keep half": "simple_mqvae",
}
STOPS = {  # held-out images to begin with, by number; the first is shown first
    EMOJI: [31, 46, 15, 39, 16, 41, 44, 18, 54, 65],
    ANYTHING: [31, 5, 21, 7, 35, 45, 12, 40],
    "garments, 32 × 32 pixels, trained to keep half": [3, 6, 18, 15, 26, 30, 7, 9],
    "simple scenes, 32 × 32 pixels, trained to keep half": [0, 1, 2, 3, 4, 5, 6, 7],
}
FOREIGN = (
    "Your own picture is shown by the model of anything, which has learned from emoji, photographs and "
    "simple scenes. Choose another model to see what one makes of a picture that is foreign to it."
)


class MaskSetting(widgets.VBox):
    """One setting of the mask, and what it makes of an image: kept regions, what comes back, numbers."""

    def __init__(self, name: str, mask: str = "adaptive", mask_ratio: float = 0.5) -> None:
        self.encoded: EncodedImage | None = None
        self.shown: MaskedImage | None = None
        self.name = name
        self.draw = 0
        self.mask = widgets.ToggleButtons(
            options=[*RANKS, PAINTED],
            value=mask,
            description="mask",
            tooltips=[HINTS[kind] for kind in [*RANKS, PAINTED]],
            style={"button_width": "84px", "description_width": "76px"},
        )
        self.mask_ratio = widgets.FloatSlider(
            value=mask_ratio,
            min=0.0,
            max=0.95,
            step=0.01,
            description="mask ratio",
            readout_format=".2f",
            layout=widgets.Layout(width="420px"),
            style={"description_width": "76px"},
        )
        self.again = widgets.Button(description="draw again", layout=widgets.Layout(width="100px"))
        self.kept = MaskCanvas(size=SIZE, label=f"setting {name}")
        self.pictures = widgets.HTML()
        self.numbers = widgets.HTML(reading("", f"mvqlab-numbers-{name}"))
        self.hint = widgets.HTML()
        self.message = Message()
        self.mask.observe(self.message.guard(self._change_mask), "value")
        self.mask_ratio.observe(self.message.guard(self._choose), "value")
        self.again.on_click(self.message.guard(self._draw_again))
        self.kept.observe(self.message.guard(self._take_painted), "is_kept")
        kept = column(self.kept, widgets.HTML('<div class="mvqlab-note">kept regions</div>'))
        super().__init__(
            [
                row(self.mask, self.again),
                self.hint,
                self.mask_ratio,
                self.numbers,
                row(kept, self.pictures),
                self.message,
            ]
        )
        self.add_class("mvqlab-panel")
        self._tell_mask()

    def show(self, encoded: EncodedImage, size: int = SIZE) -> None:
        """Show this setting on another image, in pictures of `size` pixels."""
        self.encoded = encoded
        self.kept.size = size
        self.kept.side = encoded.model.side
        self.kept.picture = png(pixels_of(encoded.image))
        if len(self.kept.is_kept) != encoded.model.n_positions:
            self.kept.keep_all()
        self._take_painted() if self.mask.value == PAINTED else self._choose()

    def _tell_mask(self) -> None:
        is_painted = self.mask.value == PAINTED
        self.hint.value = f'<div class="mvqlab-note">{HINTS[self.mask.value]}</div>'
        self.mask_ratio.disabled = self.kept.can_paint = is_painted
        self.again.layout.visibility = "visible" if self.mask.value == "random" else "hidden"

    def _change_mask(self) -> None:
        self._tell_mask()
        self._take_painted() if self.mask.value == PAINTED else self._choose()

    def _draw_again(self) -> None:
        self.draw += 1
        self._choose()

    def _choose(self) -> None:
        """Keep the regions that the mask ratio and the kind of mask stand for."""
        if self.encoded is None or self.mask.value == PAINTED:
            return
        began = time.perf_counter()
        rank = RANKS[self.mask.value]
        masked = self.encoded.keep(self.encoded.best_at(self.mask_ratio.value, rank, self.draw))
        self._show(self.encoded, masked, began)
        self.kept.show(masked.is_kept)

    def _take_painted(self) -> None:
        """Keep the regions that were painted."""
        if self.encoded is None or self.mask.value != PAINTED:
            return
        began = time.perf_counter()
        self._show(self.encoded, self.encoded.keep(self.kept.positions), began)

    def _show(self, encoded: EncodedImage, masked: MaskedImage, began: float) -> None:
        self.shown = masked
        original, size = encoded.image, self.kept.size
        words = f"{self.mask.value} mask, {len(masked.codes)} of {len(masked.is_kept)} regions kept"
        pictures = [
            figure(pixels_of(masked.image), "reconstruction", size, f"reconstruction: {words}"),
            figure(
                error_map(original, masked.image), "error, bright where large", size, f"error map: {words}"
            ),
        ]
        self.pictures.value = f'<div class="mvqlab-codes">{"".join(pictures)}</div>'
        milliseconds = 1000.0 * (time.perf_counter() - began)
        self.numbers.value = reading(
            f"{numbers_of(masked, encoded.perceptual)} · {milliseconds:.0f} ms",
            f"mvqlab-numbers-{self.name}",
        )


def numbers_of(masked: MaskedImage, perceptual: PerceptualLoss | None) -> str:
    """Codes, bits and quality of a masked image in two lines; LPIPS with the network that judged."""
    words = f"{len(masked.codes)} of {len(masked.is_kept)} codes · {masked.bits:.0f} bits"
    words += f" · PSNR {masked.psnr:.2f} dB"
    if masked.lpips is not None and perceptual is not None:
        words += f"\nLPIPS, {perceptual.label}: {masked.lpips:.4f}"
    return words


class MaskExplorer(widgets.VBox):
    """Pick an image, move the mask ratio, compare two settings.

    models: names of the choice and the models behind them, with learned scores each; default: those that
    come with mvqlab, of which the one for anything takes over when a picture of one's own comes. lpips: the
    network of the LPIPS number (vgg, alex, squeeze, random, none); one whose weights are not on this machine
    is replaced by the untrained one, and named so.
    """

    def __init__(self, models: Mapping[str, TokenModel] | None = None, lpips: str = "alex") -> None:
        if models is None:
            models = {words: load_shipped_stage1(name) for words, name in those_shipped(MODELS).items()}
        self.models = {words: require_scores(model) for words, model in models.items()}
        self.perceptual = _perceptual(lpips)
        self.shows_own = False
        self.is_switching = False  # while one control moves others, these stand still
        self.encoded: EncodedImage  # from the first image on
        self.dataset: PictureDataset | None = None
        self.model = widgets.Dropdown(
            options=list(self.models),
            description="model",
            layout=widgets.Layout(width="420px"),
            style={"description_width": "76px"},
        )
        self.number = widgets.BoundedIntText(
            min=0,
            max=0,
            description="held-out image",
            layout=widgets.Layout(width="210px"),
            style={"description_width": "110px"},
        )
        self.stop = widgets.Dropdown(
            description="or one of", layout=widgets.Layout(width="250px"), style={"description_width": "60px"}
        )
        self.file = PictureFile()
        self.remark = widgets.HTML()
        self.credit = widgets.HTML()
        self.compares = widgets.Checkbox(
            value=False, description="compare with a second setting", indent=False
        )
        self.message = Message()
        self.original = widgets.HTML()
        self.chosen = self.models[self.model.value]
        self.first = MaskSetting("a")
        self.second = MaskSetting("b", mask="random")
        self.second.layout.display = "none"
        self.model.observe(self.message.guard(self._change_model), "value")
        self.number.observe(self.message.guard(self._take_held_out), "value")
        self.stop.observe(self.message.guard(self._take_stop), "value")
        self.file.observe(self.message.guard(self._take_own), "chosen")
        self.compares.observe(self.message.guard(self._show_second), "value")
        super().__init__(
            [
                style(),
                row(self.model, self.number, self.stop),
                row(self.compares, self.file),
                self.message,
                self.remark,
                row(self.original, self.first, self.second),
                self.credit,
                note(
                    "Dropped regions are inferred from the kept ones. Bits: N log2 K for the codes and "
                    "log2 C(L, N) for their places, nothing learned. No held-out image was trained on."
                ),
            ]
        )
        self.message.guard(self._change_model)()

    def _change_model(self) -> None:
        """Show the chosen model's own held-out images, or once more the picture of one's own."""
        if self.is_switching:
            return
        self.remark.value = ""
        self.chosen = self.models[self.model.value]
        if self.shows_own:
            self._begin(self._own())
        self._offer_held_out()
        if not self.shows_own:
            self._begin(self._held_out())

    def _begin(self, image: Tensor) -> None:
        """Show an image by another model than before, at the mask ratio that this one is judged at."""
        for setting in (self.first, self.second):
            setting.encoded = None  # of the model before: the new ratio is not for it
            setting.mask_ratio.value = self.chosen.config.mask.ratio_in_use
        self._encode(image)

    def _offer_held_out(self) -> None:
        """Let the controls choose among the images of the chosen model's data. Raises DataError."""
        self.credit.value = ""
        self.dataset = None
        splits = build_splits(self.chosen.config.data)
        self.dataset = splits.validation
        offered = STOPS.get(self.model.value, range(10))
        stops = {
            f"{number}: {self.dataset.caption(number) or 'a photograph'}": number
            for number in offered
            if number < len(self.dataset)
        }
        with self._switching():
            self.stop.options = list(stops.items())
            self.number.max = len(self.dataset) - 1
            self.number.value = next(iter(stops.values()))
            self.stop.value = None if self.shows_own else self.number.value
        self.credit.value = f'<div class="mvqlab-note">{html.escape(splits.credit)}</div>'

    @contextmanager
    def _switching(self) -> Iterator[None]:
        self.is_switching = True
        try:
            yield
        finally:
            self.is_switching = False

    def _held_out(self) -> Tensor:
        if self.dataset is None:
            self._offer_held_out()
        assert self.dataset is not None
        return self.dataset[self.number.value]["image"]

    def _own(self) -> Tensor:
        return self.file.image(self.chosen.config.data.resolution)

    def _take_stop(self) -> None:
        if not self.is_switching and self.stop.value is not None:
            with self._switching():
                self.number.value = self.stop.value
            self._take_held_out()

    def _take_held_out(self) -> None:
        if self.is_switching:
            return
        with self._switching():
            known = [number for _, number in self.stop.options]
            self.stop.value = self.number.value if self.number.value in known else None
        self._encode(self._held_out())
        self.shows_own = False
        self.remark.value = ""

    def _take_own(self) -> None:
        self._own()  # what is no picture changes nothing
        switches = not self.shows_own and ANYTHING in self.models
        self.shows_own = True
        with self._switching():
            self.stop.value = None
            self.model.value = ANYTHING if switches else self.model.value
        if not switches:
            self._encode(self._own())
        else:
            self.chosen = self.models[ANYTHING]
            self._begin(self._own())
            self._offer_held_out()
        self.remark.value = f'<div class="mvqlab-note" role="status">{FOREIGN}</div>' if switches else ""

    def _show_second(self) -> None:
        self.second.layout.display = "" if self.compares.value else "none"
        self._show()

    def _encode(self, image: Tensor) -> None:
        """Run the encoder and the scorer: once an image."""
        self.encoded = EncodedImage(self.chosen, image, self.perceptual)
        self._show()

    def _show(self) -> None:
        size = SMALL_SIZE if self.compares.value else SIZE
        side = self.encoded.model.side
        scores = self.encoded.scores.view(side, side)
        pictures = [
            figure(pixels_of(self.encoded.image), "original", size),
            figure(
                heat_map(scores),
                f"scores, {float(scores.min()):.2f} (dark) to {float(scores.max()):.2f}",
                size,
                "score of each region, bright where important",
            ),
        ]
        self.original.value = "".join(pictures)
        self.first.show(self.encoded, size)
        if self.compares.value:
            self.second.show(self.encoded, size)


def _perceptual(net: str) -> PerceptualLoss | None:
    if net == "none":
        return None
    try:
        return PerceptualLoss(net)
    except MissingWeightsError:
        return PerceptualLoss("random")
