"""What all widgets are put together from: pictures with captions, readings, messages, and one style."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import ipywidgets as widgets

from mvqlab.widgets.picture_bytes import Pixels, png

Shown = TypeVar("Shown", bound=widgets.DOMWidget)
STYLE = (Path(__file__).parent / "static" / "widgets.css").read_text(encoding="utf-8")


def style() -> widgets.HTML:
    """The style sheet of all widgets; one on a page is enough."""
    return widgets.HTML(f"<style>{STYLE}</style>", layout=widgets.Layout(height="0", margin="0"))


class Instrument(widgets.VBox):
    """A widget that stands for itself: it grows with its room, and `large` is for a lecture hall."""

    def __init__(self) -> None:
        self.large = widgets.Checkbox(value=False, description="lecture size", indent=False)
        self.large.layout.width = "auto"
        self.large.observe(self._enlarge, "value")
        super().__init__()
        self.add_class("mvqlab-instrument")

    def _enlarge(self, _: object) -> None:
        (self.add_class if self.large.value else self.remove_class)("mvqlab-large")


def figure(pixels: Pixels, caption: str, alt: str = "", lines: int = 1) -> str:
    """A picture (H, W, 3) as HTML, as wide as its place, with room for a caption of so many lines.

    alt: what a screen reader says of it. Its own size tells the browser its shape before it is decoded.
    """
    source = b64encode(png(pixels)).decode()
    words = html.escape(alt or caption)
    return (
        f'<figure class="mvqlab-figure" style="--mvqlab-lines:{lines}">'
        f'<img src="data:image/png;base64,{source}" alt="{words}" '
        f'width="{pixels.shape[1]}" height="{pixels.shape[0]}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def side_by_side(pictures: Iterable[str], kind: str = "pictures") -> str:
    """Figures in a grid of HTML: big "pictures", six "codes" in a row, or as many "patches" as fit."""
    return f'<div class="mvqlab-{kind}">{"".join(pictures)}</div>'


def reading(text: str, name: str) -> str:
    """A line of numbers as HTML, spoken when it changes; `name` is its id on the page."""
    return f'<div class="mvqlab-reading" id="{name}" aria-live="polite">{html.escape(text)}</div>'


def remark(text: str, role: str = "") -> str:
    """A remark in small print, as HTML; empty where there is nothing to say."""
    spoken = f' role="{role}"' if role else ""
    return f'<div class="mvqlab-note"{spoken}>{html.escape(text)}</div>' if text else ""


def note(text: str) -> widgets.HTML:
    """A remark in small print."""
    return widgets.HTML(remark(text))


def row(*children: widgets.Widget) -> widgets.Box:
    """Side by side, broken into lines where the page is narrow."""
    return classed(widgets.Box(children), "mvqlab-row")


def classed(widget: Shown, *names: str) -> Shown:
    """`widget`, with classes that the style sheet knows."""
    for name in names:
        widget.add_class(name)
    return widget


def control(widget: Shown, is_short: bool = False) -> Shown:
    """`widget`, as wide as a control may be."""
    return classed(widget, "mvqlab-control", *(["mvqlab-short"] if is_short else []))


class Message(widgets.HTML):
    """Says what went wrong, on the page rather than in a log; empty while nothing has."""

    def tell(self, words: str) -> None:
        """Show `words`."""
        self.value = f'<div class="mvqlab-alert" role="alert">{html.escape(words)}</div>'

    def guard(self, work: Callable[[], None]) -> Callable[..., None]:
        """`work` as a widget's observer: what it raises is shown here, and what was shown is taken away."""

        def observer(_: Any = None) -> None:
            self.value = ""
            try:
                work()
            except Exception as error:  # an observer's traceback goes to a log that nobody on the page sees
                self.tell(str(error) or type(error).__name__)

        return observer
