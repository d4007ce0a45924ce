"""What commands have in common: numbers, files of arms, and what is at fault in a command line itself."""

import argparse
import math
from pathlib import Path


class UsageError(ValueError):
    """The command line asks for something that cannot be."""


def positive(word: str) -> float:
    """`word` as a finite number above 0: seconds, minutes. The type of an option of argparse."""
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not 0.0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be a finite number above 0, not '{word}'")
    return number


def count(word: str) -> int:
    """`word` as a whole number from 1 on, below 2^31. The type of an option of argparse."""
    if not (word.isascii() and word.isdecimal() and len(word) <= 10 and 0 < int(word) < 2**31):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, below 2^31, not '{word}'")
    return int(word)


def add_arms(parser: argparse.ArgumentParser) -> None:
    """Add ``--arms FILE`` to `parser`, whose command then knows the arms in those files (`mvqlab.arms`)."""
    parser.add_argument(
        "--arms",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a Python file with arms of your own, which is run; may repeat; ablations/ARMS.md says how",
    )
