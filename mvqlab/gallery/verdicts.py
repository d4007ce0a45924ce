"""The verdicts: what the kept tables of a protocol's grids say of each of its hypotheses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from mvqlab.gallery.asked import DIGITS, Asked, KeptError
from mvqlab.plots import save_figure
from mvqlab.plots.verdicts import verdict_chart
from mvqlab.results.columns import COLUMNS, as_text
from mvqlab.results.protocol import OPEN, in_words, read_claims, read_protocol, verdicts, write_verdicts
from mvqlab.results.reference import FOLDER as KEPT
from mvqlab.results.table_files import as_markdown
from mvqlab.support.files import write_text_whole
from mvqlab.support.lab import LAB

FOLDER = LAB / "ablations" / "protocol"
PROTOCOLS = {  # what a page is kept as: its protocol in FOLDER, its title
    "verdicts": ("hypotheses.yaml", "What the runs say of the paper's claims"),
    "rivals_verdicts": ("rivals.yaml", "What the runs say of other ways to spend codes"),
}
LEGEND = (
    "Difference: first arm minus second, the mean over as many pairs of seeds (in brackets, how many of them "
    "differ in that direction), with its 95 % interval. "
    "Matters: the smallest that does. p, none: that there is none; p, matters: that it is as large as what "
    "matters, or larger. Both are corrected (Holm) for all comparisons of the claim on the same data. What "
    "has not run yet counts in the correction, and stands below each table."
)


def make_verdicts(name: str, asked: Asked) -> list[Path]:
    """Write NAME.csv, a row a hypothesis, NAME.md, a table a claim, and NAME.png; `name`: one of `PROTOCOLS`.

    Raises KeptError where none has been run.
    """
    protocol, title = FOLDER / PROTOCOLS[name][0], PROTOCOLS[name][1]
    found = verdicts(read_protocol(protocol), lambda table: pd.read_csv(KEPT / f"{table}.csv"))
    if not found["n"].any():
        raise KeptError(f"{KEPT} has no table of a grid of {protocol.name} yet")
    claims = read_claims(protocol)
    page = asked.folder / f"{name}.md"
    table = write_verdicts(found.round(DIGITS), asked.folder / f"{name}.csv")
    write_text_whole(page, verdict_page(found, claims, title))
    figure = verdict_chart(found, claims, title)
    return [table, page, save_figure(figure, asked.folder / f"{name}.png")]


def verdict_page(found: pd.DataFrame, claims: Mapping[int, str], title: str) -> str:
    """The rows of `found` (see `results.protocol.verdicts`) as a page of Markdown, a table a claim."""
    parts = [f"# {title}", LEGEND]
    for claim, rows in found.groupby("part_of", sort=True):
        assert isinstance(claim, int)
        parts.append(f"## {claim}. {claims.get(claim, '')}")
        has_run = rows["n"] > 0
        if has_run.any():
            parts.append(as_markdown(pd.DataFrame(list(map(_row, rows[has_run].to_dict("records"))))))
        if not has_run.all():
            parts.append("Not run yet: " + "; ".join(map(in_words, rows[~has_run].to_dict("records"))) + ".")
    return "\n\n".join(parts) + "\n"


def _row(one: Mapping[str, object]) -> dict[str, object]:
    unit = COLUMNS[metric].unit if (metric := str(one["metric"])) in COLUMNS else ""
    mean, low, high = (as_text(metric, one[name]) for name in ("mean", "low", "high"))
    return {
        "comparison": f"{in_words(one)} ({one['first']} against {one['second']})",
        "measure": f"{metric}, {unit}" if unit else metric,
        "seeds": f"{one['n']} ({one['agree']})",
        "difference": f"{mean} ({low} to {high})" if low else mean,
        "matters": one["effect"],
        "p, none": f"{one['p_holm']:.2g}" if low else "",
        "p, matters": f"{one['p_effect_holm']:.2g}" if low else "",
        "verdict": f"**{one['verdict']}**" if one["verdict"] != OPEN else one["verdict"],
    }
