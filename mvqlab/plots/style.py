"""People's words in figures: labels stay what they are, whatever signs they hold."""

from __future__ import annotations

from mvqlab.results.columns import printable


def as_written(words: object) -> str:
    r"""`words` as matplotlib shows them letter by letter.

    Between two ``$`` it would read a formula, and fail where there is none; a label that begins with ``_`` it
    leaves out of legends.
    """
    text = printable(str(words)).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
