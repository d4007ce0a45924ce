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
from mvqlab.training import load_stage2
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
from mvqlab.widgets.picture_bytes import Pixels, heat_map, pixels_of
from mvqlab.widgets.recording import Recording, record
from mvqlab.zoo.shipped import (
    load_shipped_stage1,
    shipped_card,
    shipped_config,
    shipped_folder,
    those_shipped,
)

SPEEDS = {"slow": 600, "medium": 200, "fast": 60}  # milliseconds a pair
GREY = 200  # of what is not drawn yet
N_CODES = 6  # of the likeliest, shown at every step
CODE_LINES = 3  # of a caption, where there is little room
CHOSEN = (222, 143, 5)  # orange of the colour-blind palette
STACKFORMER, RASTER = "stackformer", "raster"
MODELS = {
    "garments, told the kind": "fashion_stackformer",
    "emoji, told the group": "emoji_stackformer",
    "simple scenes, told the shape": "simple_stackformer",
}
BESIDE = {"fashion_stackformer": "fashion_raster", "simple_stackformer": "simple_raster"}
TRAINED = {"fashion_raster": "trained as long", "simple_raster": "trained for half the steps"}
FIRST_CLASS = {"fashion_stackformer": "sneaker"}  # of others the first
NO_REGIONS = "Codes are shown without their regions: the held-out images are not here (mvqlab data list)."
NO_PLACE: Pixels = np.full((1, 1, 3), GREY, dtype=np.uint8)
FILTERS = {
    "code_top_k": (widgets.IntSlider, 0, 512, 1),
    "code_top_p": (widgets.FloatSlider, 0.05, 1.0, 0.05),
    "position_top_k": (widgets.IntSlider, 0, 64, 1),
    "position_top_p": (widgets.FloatSlider, 0.05, 1.0, 0.05),
}


def title_beside(raster: str | None) -> str:
    """What stands over the pictures of the raster transformer of that name; nothing where there is none."""
    return "" if raster is None else f"raster transformer, {TRAINED[raster]}"


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
    model = load_stage2(shipped_folder(name), stage1)
    return Drawer(model, stage1, codes, sampling, card.get("credit", ""))


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
        so_far = figure(pixels_of(self.recording.images[n]), "image so far", lines=2)
        if n > 0:
            place = figure(self._places(n - 1), *self._words_on_places(n - 1), lines=2)
            self.codes.value = self._likeliest(n - 1)
        else:  # what comes later has its place already
            place = figure(NO_PLACE, "no place yet", lines=2)
            self.codes.value = side_by_side([self._no_code()] * N_CODES, "codes")
        self.pictures.value = side_by_side([so_far, place])

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

    def _words_on_places(self, pair: int) -> tuple[str, str]:
        trace, side = self.recording.trace, self.drawer.stage1.side
        place = int(trace.pairs.positions[0, pair])
        at = f"row {place // side + 1}, column {place % side + 1}"
        if self.drawer.model.predicts == ("code",):
            return f"place given: {at}", f"the place is given: {at}"
        share = float(trace.position_probabilities[0, pair, place])
        return f"place drawn: {at}, {share:.0%}", f"probability of every place; drawn: {at}, {share:.0%}"

    def _likeliest(self, pair: int) -> str:
        trace = self.recording.trace
        best = trace.top_codes(N_CODES)
        drawn = int(trace.pairs.codes[0, pair])
        codes = [code for code in best.codes[0, pair].tolist() if code != drawn]
        parts = [self._code(code, pair, code == drawn) for code in [drawn, *codes][:N_CODES]]
        return side_by_side(parts, "codes")

    def _code(self, code: int, pair: int, is_drawn: bool) -> str:
        share = float(self.recording.trace.code_probabilities[0, pair, code])
        words = f"code {code}\n{share:.0%}{', drawn' if is_drawn else ''}"
        bar = f'<div class="mvqlab-bar" style="width:{max(1, round(100 * share))}%"></div>'
        if self.drawer.codes is None:
            return f"<div>{_in_words(words)}{bar}</div>"
        return (
            f"<div>{figure(self.drawer.codes.near(code, 1).patches[0], words, lines=CODE_LINES)}{bar}</div>"
        )

    def _no_code(self) -> str:
        """As much room as a code takes."""
        bar = '<div class="mvqlab-bar" style="width:0"></div>'
        if self.drawer.codes is None:
            return f"<div>{_in_words('no code yet')}{bar}</div>"
        blank = np.full_like(self.drawer.codes.near(0, 1).patches[0], GREY)
        return f"<div>{figure(blank, 'no code yet', lines=CODE_LINES)}{bar}</div>"


def _in_words(words: str) -> str:
    return f'<div class="mvqlab-caption" style="--mvqlab-lines:{CODE_LINES}">{words}</div>'


class GenerationPlayer(Instrument):
    """Draw an image, then play, pause, step and seek through its pairs, two models side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.is_switching = False  # while one control moves others, nothing is drawn
        self.shown: list[Stage] = []
        self.drawers: dict[str, Drawer] = {}
        self.offered: dict[str, float] = {}  # what the controls of sampling stood at before they were moved
        self.message = Message()
        self.model = control(widgets.Dropdown(options=those_shipped(MODELS), description="Stackformer"))
        self.class_name = control(widgets.Dropdown(description="class"))
        self.seed = control(widgets.BoundedIntText(0, 0, 2**31 - 1, description="seed"), is_short=True)
        self.temperature = _slider(widgets.FloatSlider, "temperature", 0.0, 2.0, 0.05)
        self.guidance = _slider(widgets.FloatSlider, "guidance", 0.0, 5.0, 0.25)
        self.filters = {
            name: _slider(kind, _words(name), low, high, step)
            for name, (kind, low, high, step) in FILTERS.items()
        }
        filters = widgets.Accordion(
            [row(*self.filters.values())], titles=["filters, which the models' own settings leave off"]
        )
        self.step = control(widgets.IntSlider(0, min=0, max=1, description="pairs drawn"))
        self.play = classed(widgets.Play(0, min=0, max=1, interval=SPEEDS["medium"]), "mvqlab-play")
        self.speed = control(
            widgets.Dropdown(options=SPEEDS, value=self.play.interval, description="speed"), is_short=True
        )
        widgets.jslink((self.play, "value"), (self.step, "value"))
        widgets.dlink((self.speed, "value"), (self.play, "interval"))
        self.stages = {STACKFORMER: Stage(STACKFORMER), RASTER: Stage(RASTER)}
        self.remark, self.credit = widgets.HTML(), widgets.HTML()
        controls = (self.class_name, self.seed, self.temperature, self.guidance, *self.filters.values())
        for one in controls:
            one.observe(self.message.guard(self._draw_if_asked), "value")
        self.model.observe(self.message.guard(self._change_model), "value")
        self.step.observe(self.message.guard(self._show), "value")
        self.children = [
            style(),
            row(self.model, self.class_name, self.seed),
            row(self.temperature, self.guidance),
            filters,
            self.message,
            row(self.play, self.speed, self.step, self.large),
            classed(widgets.Box(list(self.stages.values())), "mvqlab-side-by-side", "mvqlab-stages"),
            self.remark,
            self.credit,
            note(
                "Controls begin where the model's own settings are. Guidance 1 and top-k 0 are off. The "
                "clock counts the drawing of pairs alone, one image at a time, on this machine. "
                "Stackformer's image infers what is not drawn yet; the plain model cannot, so its image "
                "is uncovered region by region."
            ),
        ]
        self.message.guard(self._change_model)()

    def drawer(self, name: str) -> Drawer:
        """The shipped transformer `name`, loaded once."""
        if name not in self.drawers:
            self.drawers[name] = load_drawer(name)
        return self.drawers[name]

    def settings(self, name: str) -> SamplingConfig:
        """How `name` draws pairs: by its own settings, but for the controls that were moved."""
        controls = {"temperature": self.temperature, "guidance": self.guidance, **self.filters}
        moved = {key: one.value for key, one in controls.items() if one.value != self.offered[key]}
        if "guidance" in moved:
            moved["code_guidance"] = moved["position_guidance"] = moved.pop("guidance")
        return self.drawer(name).sampling.model_copy(update=moved)

    def draw(self) -> None:
        """Draw anew with both models, and show where the player stands."""
        names = {STACKFORMER: self.model.value, RASTER: BESIDE.get(self.model.value)}
        titles = {STACKFORMER: "Stackformer", RASTER: title_beside(names[RASTER])}
        self.shown = [stage for key, stage in self.stages.items() if names[key] is not None]
        for stage in self.shown:
            drawer = self.drawer(names[stage.name])
            takes_class = isinstance(drawer.model.start, ClassStart)
            condition = self.class_name.value if takes_class else None
            own = self.settings(names[stage.name])
            recording = record(drawer.model, drawer.stage1, own, self.seed.value, condition)
            stage.play(drawer, recording, titles[stage.name])
        self._show()

    def _change_model(self) -> None:
        self.is_switching = True
        try:
            self._offer(self.model.value)
        finally:
            self.is_switching = False
        self.draw()
        # a whole image first: to play is to begin anew
        self.step.max = self.play.max = max(stage.recording.n_pairs for stage in self.shown)
        self.step.value = self.play.value = self.step.max

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
        controls = {"temperature": self.temperature, "guidance": self.guidance, **self.filters}
        self.offered = {key: one.value for key, one in controls.items()}
        self.stages[RASTER].layout.display = "" if name in BESIDE else "none"
        lacks = drawer.codes is None
        self.remark.value = remark(NO_REGIONS if lacks else "")
        self.credit.value = remark(drawer.credit)

    def _draw_if_asked(self) -> None:
        if not self.is_switching:
            self.draw()

    def _show(self) -> None:
        for stage in self.shown:
            stage.show(self.step.value)


def _slider(kind: type, words: str, low: float, high: float, step: float) -> widgets.Widget:
    """A slider that is heard once it is let go: to draw anew takes a while."""
    return control(kind(high, min=low, max=high, step=step, description=words, continuous_update=False))


def _words(name: str) -> str:
    return name.replace("_top_", " top-")
