"""One setting of the mask in the explorer: which regions it keeps, what comes back, and what that costs."""

from __future__ import annotations

import time

import ipywidgets as widgets

from mvqlab.evaluation.images.choice import Rank, at_random, by_score, upside_down
from mvqlab.evaluation.images.masked_image import EncodedImage, MaskedImage
from mvqlab.training.losses import PerceptualLoss
from mvqlab.widgets.elements import Message, classed, control, figure, reading, remark, row, side_by_side
from mvqlab.widgets.mask_canvas import MaskCanvas
from mvqlab.widgets.picture_bytes import error_map, pixels_of, png

RANKS: dict[str, Rank] = {"adaptive": by_score, "random": at_random, "inverted": upside_down}
PAINTED = "painted"
HINTS = {
    "adaptive": "keeps the regions that score highest",
    "random": "keeps regions drawn at random",
    "inverted": "keeps the regions that score lowest: drops the important ones",
    PAINTED: "keeps what you paint: click or drag, or arrow keys and space bar",
}
NETWORKS = {
    "alex": "by AlexNet",
    "vgg": "by VGG-16",
    "squeeze": "by SqueezeNet",
    "random": "untrained network",
}


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
            style={"button_width": "auto"},
        )
        self.mask_ratio = control(
            widgets.FloatSlider(
                value=mask_ratio,
                min=0.0,
                max=0.95,
                step=0.01,
                description="mask ratio",
                readout_format=".2f",
            )
        )
        self.again = widgets.Button(description="draw again", layout=widgets.Layout(width="auto"))
        self.kept = MaskCanvas(label=f"setting {name}")
        self.pictures = widgets.HTML()
        self.numbers = classed(widgets.HTML(reading("", f"mvqlab-numbers-{name}")), "mvqlab-numbers")
        self.hint = classed(widgets.HTML(), "mvqlab-hint")
        self.message = Message()
        self.mask.observe(self.message.guard(self._change_mask), "value")
        self.mask_ratio.observe(self.message.guard(self._choose), "value")
        self.again.on_click(self.message.guard(self._draw_again))
        self.kept.observe(self.message.guard(self._take_painted), "is_kept")
        kept = widgets.VBox([self.kept, widgets.HTML('<div class="mvqlab-caption">kept regions</div>')])
        super().__init__(
            [
                classed(row(self.mask, self.again), "mvqlab-masks"),
                self.hint,
                self.mask_ratio,
                self.numbers,
                classed(widgets.Box([kept, self.pictures]), "mvqlab-trio"),
                self.message,
            ]
        )
        self.add_class("mvqlab-panel")
        self._tell_mask()

    def show(self, encoded: EncodedImage) -> None:
        """Show this setting on another image."""
        self.encoded = encoded
        self.kept.side = encoded.model.side
        self.kept.picture = png(pixels_of(encoded.image))
        if len(self.kept.is_kept) != encoded.model.n_positions:
            self.kept.keep_all()
        self._take_painted() if self.mask.value == PAINTED else self._choose()

    def _tell_mask(self) -> None:
        is_painted = self.mask.value == PAINTED
        self.hint.value = remark(HINTS[self.mask.value])
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
        words = f"{self.mask.value} mask, {len(masked.codes)} of {len(masked.is_kept)} regions kept"
        pictures = [
            figure(pixels_of(masked.image), "reconstruction", f"reconstruction: {words}"),
            figure(
                error_map(encoded.image, masked.image), "error, bright where large", f"error map: {words}"
            ),
        ]
        self.pictures.value = side_by_side(pictures)
        milliseconds = 1000.0 * (time.perf_counter() - began)
        self.numbers.value = reading(
            f"{numbers_of(masked, encoded.perceptual)} · {milliseconds:.0f} ms",
            f"mvqlab-numbers-{self.name}",
        )


def numbers_of(masked: MaskedImage, perceptual: PerceptualLoss | None) -> str:
    """Codes, bits and quality of a masked image in two lines; LPIPS by its meaning, and who judged."""
    words = f"{len(masked.codes)} of {len(masked.is_kept)} codes · {masked.bits:.0f} bits"
    words += f" · PSNR {masked.psnr:.2f} dB"
    if masked.lpips is not None and perceptual is not None:
        words += f"\nperceptual distance {masked.lpips:.4f} (LPIPS, {NETWORKS[perceptual.net]})"
    return words
