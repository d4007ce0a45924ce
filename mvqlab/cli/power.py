"""The command ``mvqlab power``: how many seeds a comparison needs, by a table that was kept."""

from __future__ import annotations

import argparse
from pathlib import Path

from mvqlab.cli.arguments import UsageError, count, positive
from mvqlab.support.lab import here_or_in_lab


def add_power(parser: argparse.ArgumentParser) -> None:
    """Add the command to `parser`; it stores the function that runs it as `command`."""
    parser.add_argument("table", type=Path, help="a results table (CSV), or the folder of a grid")
    parser.add_argument("--compare", nargs=3, metavar=("NAME", "FIRST", "SECOND"), required=True)
    parser.add_argument("--at", nargs="*", default=[], metavar="NAME", help="compare apart at each value of")
    parser.add_argument(
        "--effect",
        action="append",
        required=True,
        metavar="METRIC=SIZE",
        help="the smallest effect that matters, in the metric's unit; may repeat",
    )
    parser.add_argument("--tests", type=count, default=1, help="hypotheses tested together; default: 1")
    parser.set_defaults(command=_power)


def _power(options: argparse.Namespace) -> int:
    effects = dict(_effect(word) for word in options.effect)
    from mvqlab import results
    from mvqlab.results.power import power_table
    from mvqlab.results.table_files import as_markdown, read_csv

    of_file = options.table.suffix == ".csv"
    table = read_csv(here_or_in_lab(options.table)) if of_file else results.load(options.table)
    name, *sides = options.compare
    first, second = map(_side, sides)
    found = power_table(table, name, first, second, options.at, effects, options.tests)
    print(as_markdown(found))
    print(
        "power: the chance that n seeds show a difference as large as the effect; seeds: that show it with "
        "80 %; holds_from: the true difference of which so many say with 80 % that it is as large as the "
        "effect; seeds_for_none: that show with 80 % that there is none. Empty: more than 1,000."
    )
    return 0


def _side(word: str) -> object:
    """What `word` stands for, as in a grid file: 0.5 is a number; a label with colons is a word."""
    import yaml

    try:
        found = yaml.safe_load(word)
    except (yaml.YAMLError, ValueError):  # the latter of a day that no month has
        return word
    return word if isinstance(found, dict) and not word.lstrip().startswith("{") else found


def _effect(word: str) -> tuple[str, float]:
    name, equals, size = word.partition("=")
    if not (name and equals):
        raise UsageError(f"--effect takes METRIC=SIZE, such as psnr=0.3, not '{word}'")
    try:
        return name, positive(size)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"--effect {name}: {error}") from error
