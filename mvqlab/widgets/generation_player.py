"""The generation player: watch Stackformer draw pair by pair, the raster transformer beside it."""

from __future__ import annotations

import html
from dataclasses import dataclass

import ipywidgets as widgets
import numpy as np

from mvqlab.config import SamplingConfig
from mvqlab.data import build_splits
from mvqlab.models.mqvae import TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.models.stage2 import n_parameters
from mvqlab.models.start import ClassStart
from mvqlab.shipped import load_shipped_stage1, load_shipped_stage2, shipped_card
from mvqlab.widgets.coded_images import CodedImages, code_images
from mvqlab.widgets.elements import Message, figure, note, reading, row, style
from mvqlab.widgets.picture_bytes import Pixels, heat_map, pixels_of
from mvqlab.widgets.recording import Recording, record

SIZE = 192  # pixels of a picture on the screen
N_CODES = 5  # of the likeliest, shown at every step
CHOSEN = (222, 143, 5)  # orange of the colour-blind palette
RASTER = "raster"
MODELS = {
    "trained as long as the raster transformer": "stackformer_short",
    "trained five times as long": "stackformer",
    "told a class, trained twice as long": "stackformer_classes",
}


@dataclass(frozen=True)
class Drawer:
    """A transformer, the stage 1 whose pairs it draws, and that one's codes as pictures."""

    model: PairModel
    stage1: TokenModel
    codes: CodedImages


def load_drawer(name: str, known: dict[str, CodedImages]) -> Drawer:
    """The shipped transformer `name`; `known` codes are taken and added to, by the name of their stage 1."""
    of = shipped_card(name)["stage1"]
    if of not in known:
        known[of] = code_images(load_shipped_stage1(of))
    return Drawer(load_shipped_stage2(name), known[of].model, known[of])


class Stage(widgets.VBox):
    """One recording at any step: the image so far, the places a pair might take, its likeliest codes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.drawer: Drawer | None = None
        self.recording: Recording | None = None
        self.title, self.pictures, self.codes = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.clock = widgets.HTML(reading("", f"mvqlab-clock-{name}"))
        super().__init__([self.title, self.clock, self.pictures, self.codes])
        self.add_class("mvqlab-panel")

    def play(self, drawer: Drawer, recording: Recording, title: str) -> None:
        """Take another recording."""
        self.drawer, self.recording = drawer, recording
        size = f"{n_parameters(drawer.model) / 1e6:.2f} million parameters"
        self.title.value = f"<b>{html.escape(title)}</b>, {size}"

    def show(self, step: int) -> None:
        """Show how far the image was after `step` pairs, or at its end where it has fewer."""
        n = min(step, self.recording.n_pairs)
        words = "pairs" if self.drawer.model.predicts != ("code",) else "codes"
        seconds = float(self.recording.seconds[n])
        self.clock.value = reading(
            f"{n} of {self.recording.n_pairs} {words} · {1000.0 * seconds:.0f} ms",
            f"mvqlab-clock-{self.name}",
        )
        pictures = [figure(pixels_of(self.recording.images[n]), "image so far", SIZE)]
        if n > 0:
            pictures.append(figure(self._places(n - 1), *self._words_on_places(n - 1)))
        self.pictures.value = f'<div class="mvqlab-codes">{"".join(pictures)}</div>'
        self.codes.value = self._likeliest(n - 1) if n > 0 else ""

    def _places(self, pair: int) -> Pixels:
        """The probability of every place for a pair, and a frame around the one that was drawn."""
        trace, side = self.recording.trace, self.drawer.stage1.side
        pixels = heat_map(trace.position_probabilities[0, pair].view(side, side), 0.0)
        big = np.kron(pixels, np.ones((16, 16, 1), dtype=np.uint8))
        top, left = (16 * place for place in divmod(int(trace.pairs.positions[0, pair]), side))
        inside = big[top + 2 : top + 14, left + 2 : left + 14].copy()
        big[top : top + 16, left : left + 16] = CHOSEN
        big[top + 2 : top + 14, left + 2 : left + 14] = inside
        return big

    def _words_on_places(self, pair: int) -> tuple[str, int, str]:
        trace, side = self.recording.trace, self.drawer.stage1.side
        place = int(trace.pairs.positions[0, pair])
        at = f"row {place // side + 1}, column {place % side + 1}"
        if self.drawer.model.predicts == ("code",):
            return f"place given: {at}", SIZE, f"the place is given: {at}"
        share = float(trace.position_probabilities[0, pair, place])
        return (
            f"place drawn: {at}, {share:.0%}",
            SIZE,
            f"probability of every place; drawn: {at}, {share:.0%}",
        )

    def _likeliest(self, pair: int) -> str:
        trace = self.recording.trace
        best = trace.top_codes(N_CODES)
        drawn = int(trace.pairs.codes[0, pair])
        codes = [code for code in best.codes[0, pair].tolist() if code != drawn]
        parts = [self._code(code, pair, code == drawn) for code in [drawn, *codes][:N_CODES]]
        return f'<div class="mvqlab-codes">{"".join(parts)}</div>'

    def _code(self, code: int, pair: int, is_drawn: bool) -> str:
        share = float(self.recording.trace.code_probabilities[0, pair, code])
        words = f"code {code}\n{share:.0%}{', drawn' if is_drawn else ''}"
        patch = self.drawer.codes.near(code, 1).patches[0]
        bar = f'<div class="mvqlab-bar" style="width:{max(1, round(56 * share))}px"></div>'
        return f"<div>{figure(patch, words, 56)}{bar}</div>"


class GenerationPlayer(widgets.VBox):
    """Draw an image, then play, pause, step and seek through its pairs, two models side by side."""

    def __init__(self) -> None:
        self.known: dict[str, CodedImages] = {}
        self.drawers: dict[str, Drawer] = {}
        self.message = Message()
        wide, label = widgets.Layout(width="430px"), {"description_width": "110px"}
        narrow = widgets.Layout(width="210px")
        self.model = widgets.Dropdown(options=MODELS, description="Stackformer", layout=wide, style=label)
        self.class_name = widgets.Dropdown(description="class", layout=narrow, style=label)
        self.seed = widgets.BoundedIntText(0, 0, 2**31 - 1, description="seed", layout=narrow, style=label)
        defaults = SamplingConfig()
        sliders = {"continuous_update": False, "layout": widgets.Layout(width="320px"), "style": label}
        ranges = {
            "temperature": (widgets.FloatSlider, 0.0, 2.0, 0.05),
            "code_top_k": (widgets.IntSlider, 0, 512, 1),
            "code_top_p": (widgets.FloatSlider, 0.05, 1.0, 0.05),
            "position_top_k": (widgets.IntSlider, 0, 64, 1),
            "position_top_p": (widgets.FloatSlider, 0.05, 1.0, 0.05),
        }
        self.filters = {
            name: kind(
                getattr(defaults, name), min=low, max=high, step=step, description=_words(name), **sliders
            )
            for name, (kind, low, high, step) in ranges.items()
        }
        self.step = widgets.IntSlider(0, min=0, max=64, description="step", layout=wide, style=label)
        self.play = widgets.Play(0, min=0, max=64, interval=200, description="play")
        widgets.jslink((self.play, "value"), (self.step, "value"))
        self.stages = {"stackformer": Stage("stackformer"), RASTER: Stage(RASTER)}
        for control in (self.seed, *self.filters.values()):
            control.observe(self.message.guard(self.draw), "value")
        self.class_name.observe(self.message.guard(self._change_class), "value")
        self.model.observe(self.message.guard(self._change_model), "value")
        self.step.observe(self.message.guard(self._show), "value")
        super().__init__(
            [
                style(),
                row(self.model, self.class_name, self.seed),
                row(*self.filters.values()),
                self.message,
                row(self.play, self.step),
                row(*self.stages.values()),
                note(
                    "Top-k 0 is off. The clock counts the drawing of pairs alone, one image at a time, on "
                    "this machine. Stackformer's image infers what is not drawn yet; the plain model cannot, "
                    "so its image is uncovered region by region."
                ),
            ]
        )
        self._change_model()

    def drawer(self, name: str) -> Drawer:
        """The shipped transformer `name`, loaded once."""
        if name not in self.drawers:
            self.drawers[name] = load_drawer(name, self.known)
        return self.drawers[name]

    def settings(self) -> SamplingConfig:
        """How pairs are drawn, as the controls say."""
        return SamplingConfig(**{name: slider.value for name, slider in self.filters.items()})

    def draw(self) -> None:
        """Draw anew with both models, and show where the player stands."""
        titles = {"stackformer": "Stackformer", RASTER: "raster transformer, unconditional"}
        names = {"stackformer": self.model.value, RASTER: RASTER}
        for key, stage in self.stages.items():
            drawer = self.drawer(names[key])
            takes_class = isinstance(drawer.model.start, ClassStart)
            condition = self.class_name.value if takes_class else None
            recording = record(drawer.model, drawer.stage1, self.settings(), self.seed.value, condition)
            stage.play(drawer, recording, titles[key])
        longest = max(stage.recording.n_pairs for stage in self.stages.values())
        self.step.max = self.play.max = longest
        self._show()

    def _change_model(self) -> None:
        drawer = self.drawer(self.model.value)
        takes_class = isinstance(drawer.model.start, ClassStart)
        names = build_splits(drawer.stage1.config.data).class_names if takes_class else []
        self.class_name.disabled = True  # while its names change, a class is not chosen
        self.class_name.options = [(name, number) for number, name in enumerate(names)]
        self.class_name.value = 0 if takes_class else None
        self.class_name.disabled = not takes_class
        self.draw()

    def _change_class(self) -> None:
        if not self.class_name.disabled:
            self.draw()

    def _show(self) -> None:
        for stage in self.stages.values():
            stage.show(self.step.value)


def _words(name: str) -> str:
    return name.replace("_top_", " top-")
