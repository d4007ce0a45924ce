"""The generation player: watch Stackformer draw pair by pair, the raster transformer beside it."""

from __future__ import annotations

import html
from dataclasses import dataclass

import ipywidgets as widgets
import numpy as np

from mvqlab.config import SamplingConfig
from mvqlab.data import DataError, class_names
from mvqlab.models.mqvae import TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.models.start import ClassStart
from mvqlab.models.transformers import n_parameters
from mvqlab.widgets.coded_images import CodedImages, code_images
from mvqlab.widgets.elements import Message, figure, note, reading, row, style
from mvqlab.widgets.picture_bytes import Pixels, heat_map, pixels_of
from mvqlab.widgets.recording import Recording, record
from mvqlab.zoo.shipped import (
    load_shipped_stage1,
    load_shipped_stage2,
    shipped_card,
    shipped_config,
    those_shipped,
)

SIZE = 240  # pixels of a picture on the screen
FIRST_STEP = 27  # pairs: something is there, and something to come
N_CODES = 6  # of the likeliest, shown at every step
CHOSEN = (222, 143, 5)  # orange of the colour-blind palette
STACKFORMER, RASTER = "stackformer", "raster"
MODELS = {
    "garments, told the kind": "fashion_stackformer",
    "emoji, told the group": "emoji_stackformer",
    "simple scenes, told the shape": "simple_stackformer",
}
BESIDE = {"fashion_stackformer": "fashion_raster", "simple_stackformer": "simple_raster"}  # trained as long
FIRST_CLASS = {"fashion_stackformer": "sneaker"}  # of others the first
NO_REGIONS = "Codes are shown without their regions: the held-out images are not here (mvqlab data list)."
FILTERS = {
    "code_top_k": (widgets.IntSlider, 0, 512, 1),
    "code_top_p": (widgets.FloatSlider, 0.05, 1.0, 0.05),
    "position_top_k": (widgets.IntSlider, 0, 64, 1),
    "position_top_p": (widgets.FloatSlider, 0.05, 1.0, 0.05),
}


@dataclass(frozen=True)
class Drawer:
    """A transformer, the stage 1 whose pairs it draws, that one's codes as pictures, its own settings.

    codes is None where the held-out images are not on this machine. credit: of the pictures it has seen.
    """

    model: PairModel
    stage1: TokenModel
    codes: CodedImages | None
    sampling: SamplingConfig
    credit: str = ""


def load_drawer(name: str) -> Drawer:
    """The shipped transformer `name`, with its own settings of sampling."""
    card = shipped_card(name)
    stage1 = load_shipped_stage1(card["stage1"])
    try:
        codes = code_images(stage1)
    except DataError:
        codes = None
    sampling = shipped_config(name).sampling
    return Drawer(load_shipped_stage2(name), stage1, codes, sampling, card.get("credit", ""))


class Stage(widgets.VBox):
    """One recording at any step: the image so far, the places a pair might take, its likeliest codes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.drawer: Drawer  # from `play` on, as is the recording
        self.recording: Recording
        self.title, self.pictures, self.codes = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.clock = widgets.HTML(reading("", f"mvqlab-clock-{name}"))
        super().__init__([self.title, self.clock, self.pictures, self.codes])
        self.add_class("mvqlab-panel")
        self.layout.width = f"{2 * SIZE + 30}px"

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
        bar = f'<div class="mvqlab-bar" style="width:{max(1, round(56 * share))}px"></div>'
        if self.drawer.codes is None:
            return f'<div><div class="mvqlab-note">{words}</div>{bar}</div>'
        patch = self.drawer.codes.near(code, 1).patches[0]
        return f"<div>{figure(patch, words, 56)}{bar}</div>"


class GenerationPlayer(widgets.VBox):
    """Draw an image, then play, pause, step and seek through its pairs, two models side by side."""

    def __init__(self) -> None:
        self.is_switching = False  # while one control moves others, nothing is drawn
        self.shown: list[Stage] = []
        self.drawers: dict[str, Drawer] = {}
        self.message = Message()
        wide, label = widgets.Layout(width="430px"), {"description_width": "110px"}
        narrow = widgets.Layout(width="210px")
        self.model = widgets.Dropdown(
            options=those_shipped(MODELS), description="Stackformer", layout=wide, style=label
        )
        self.class_name = widgets.Dropdown(description="class", layout=wide, style=label)
        self.seed = widgets.BoundedIntText(0, 0, 2**31 - 1, description="seed", layout=narrow, style=label)
        sliders = {"continuous_update": False, "layout": wide, "style": label}
        self.temperature = widgets.FloatSlider(
            1.0, min=0.0, max=2.0, step=0.05, description="temperature", **sliders
        )
        self.guidance = widgets.FloatSlider(
            1.0, min=0.0, max=5.0, step=0.25, description="guidance", **sliders
        )
        self.filters = {
            name: kind(high, min=low, max=high, step=step, description=_words(name), **sliders)
            for name, (kind, low, high, step) in FILTERS.items()
        }
        filters = widgets.Accordion(
            [row(*self.filters.values())], titles=["filters, which the models' own settings leave off"]
        )
        self.step = widgets.IntSlider(FIRST_STEP, min=0, max=64, description="step", layout=wide, style=label)
        self.play = widgets.Play(FIRST_STEP, min=0, max=64, interval=200, description="play")
        widgets.jslink((self.play, "value"), (self.step, "value"))
        self.stages = {STACKFORMER: Stage(STACKFORMER), RASTER: Stage(RASTER)}
        self.remark, self.credit = widgets.HTML(), widgets.HTML()
        controls = (self.class_name, self.seed, self.temperature, self.guidance, *self.filters.values())
        for control in controls:
            control.observe(self.message.guard(self._draw_if_asked), "value")
        self.model.observe(self.message.guard(self._change_model), "value")
        self.step.observe(self.message.guard(self._show), "value")
        super().__init__(
            [
                style(),
                row(self.model, self.class_name, self.seed),
                row(self.temperature, self.guidance),
                filters,
                self.message,
                row(self.play, self.step),
                row(*self.stages.values()),
                self.remark,
                self.credit,
                note(
                    "Controls begin where the model's own settings are. Guidance 1 and top-k 0 are off. The "
                    "clock counts the drawing of pairs alone, one image at a time, on this machine. "
                    "Stackformer's image infers what is not drawn yet; the plain model cannot, so its image "
                    "is uncovered region by region."
                ),
            ]
        )
        self.message.guard(self._change_model)()

    def drawer(self, name: str) -> Drawer:
        """The shipped transformer `name`, loaded once."""
        if name not in self.drawers:
            self.drawers[name] = load_drawer(name)
        return self.drawers[name]

    def settings(self) -> SamplingConfig:
        """How pairs are drawn: the model's own settings, and what the controls were moved to."""
        own = self.drawer(self.model.value).sampling
        moved = {name: slider.value for name, slider in self.filters.items()}
        moved["temperature"] = self.temperature.value
        if self.guidance.value != own.code_guidance:
            moved |= {"code_guidance": self.guidance.value, "position_guidance": self.guidance.value}
        return own.model_copy(update=moved)

    def draw(self) -> None:
        """Draw anew with both models, and show where the player stands."""
        titles = {STACKFORMER: "Stackformer", RASTER: "raster transformer, trained as long"}
        names = {STACKFORMER: self.model.value, RASTER: BESIDE.get(self.model.value)}
        self.shown = [stage for key, stage in self.stages.items() if names[key] is not None]
        for stage in self.shown:
            drawer = self.drawer(names[stage.name])
            takes_class = isinstance(drawer.model.start, ClassStart)
            condition = self.class_name.value if takes_class else None
            recording = record(drawer.model, drawer.stage1, self.settings(), self.seed.value, condition)
            stage.play(drawer, recording, titles[stage.name])
        longest = max(stage.recording.n_pairs for stage in self.shown)
        self.step.max = self.play.max = longest
        self._show()

    def _change_model(self) -> None:
        self.is_switching = True
        try:
            self._offer(self.model.value)
        finally:
            self.is_switching = False
        self.draw()

    def _offer(self, name: str) -> None:
        """Let the controls be those of the model `name`, and stand where its own settings are."""
        drawer = self.drawer(name)
        takes_class = isinstance(drawer.model.start, ClassStart)
        names = class_names(drawer.stage1.config.data) if takes_class else []
        self.class_name.options = [(words, number) for number, words in enumerate(names)]
        first = FIRST_CLASS.get(name)
        self.class_name.value = names.index(first) if first in names else 0 if names else None
        self.class_name.disabled = self.guidance.disabled = not takes_class
        self.guidance.value = drawer.sampling.code_guidance
        self.temperature.value = drawer.sampling.temperature
        for filter_name, slider in self.filters.items():
            slider.value = getattr(drawer.sampling, filter_name)
        self.stages[RASTER].layout.display = "" if name in BESIDE else "none"
        lacks = drawer.codes is None
        self.remark.value = f'<div class="mvqlab-note">{NO_REGIONS if lacks else ""}</div>'
        self.credit.value = f'<div class="mvqlab-note">{html.escape(drawer.credit)}</div>'

    def _draw_if_asked(self) -> None:
        if not self.is_switching:
            self.draw()

    def _show(self) -> None:
        for stage in self.shown:
            stage.show(self.step.value)


def _words(name: str) -> str:
    return name.replace("_top_", " top-")
