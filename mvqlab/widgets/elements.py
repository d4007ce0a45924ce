"""What all widgets are put together from: pictures with captions, readings, messages, and one style."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from mvqlab.widgets.picture_bytes import Pixels, png

STYLE = """<style>
.mvqlab-figure { margin: 0 }
.mvqlab-figure img { image-rendering: pixelated; display: block; background: #eee }
.mvqlab-figure figcaption { font-size: 12px; line-height: 1.3; margin-top: 3px }
.mvqlab-row { gap: 14px; flex-flow: row wrap }
.mvqlab-column { gap: 6px }
.mvqlab-panel { border-top: 2px solid #949494; padding: 8px 0 }
.mvqlab-reading { font-size: 14px; font-variant-numeric: tabular-nums; line-height: 1.5 }
.mvqlab-reading, .mvqlab-figure figcaption { white-space: pre-line }
.mvqlab-alert { border-left: 4px solid #d55e00; padding: 4px 10px; font-size: 13px }
.mvqlab-note { font-size: 12px; line-height: 1.4; max-width: 62em }
.mvqlab-spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%) }
.mvqlab-codes { display: flex; gap: 10px; flex-wrap: wrap }
.mvqlab-codes .mvqlab-figure { min-width: 64px }
.mvqlab-mask-canvas canvas { display: block }
.mvqlab-bar { height: 6px; background: #0173b2 }
</style>"""


def style() -> widgets.HTML:
    """The style sheet of all widgets; one on a page is enough."""
    return widgets.HTML(STYLE, layout=widgets.Layout(height="0", margin="0"))


def figure(pixels: Pixels, caption: str, size: int, alt: str = "") -> str:
    """A picture (H, W, 3) as HTML, enlarged to `size` pixels; `alt` is what a screen reader says of it."""
    source = b64encode(png(pixels)).decode()
    words = html.escape(alt or caption)
    return (
        f'<figure class="mvqlab-figure"><img src="data:image/png;base64,{source}" alt="{words}" '
        f'width="{size}" height="{round(size * pixels.shape[0] / pixels.shape[1])}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def reading(text: str, name: str) -> str:
    """A line of numbers as HTML, spoken when it changes; `name` is its id on the page."""
    return f'<div class="mvqlab-reading" id="{name}" aria-live="polite">{html.escape(text)}</div>'


def note(text: str) -> widgets.HTML:
    """A remark in small print."""
    return widgets.HTML(f'<div class="mvqlab-note">{html.escape(text)}</div>')


def row(*children: widgets.Widget) -> widgets.Box:
    """Side by side, broken into lines where the page is narrow."""
    box = widgets.Box(children)
    box.add_class("mvqlab-row")
    return box


def column(*children: widgets.Widget) -> widgets.VBox:
    """One below the other."""
    box = widgets.VBox(children)
    box.add_class("mvqlab-column")
    return box


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
