"""What is at fault in a command line, as opposed to in the files that it names."""

import argparse
import math


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
