"""Settings that do not fit: each fault as where it is, what it is and what to do, and all of them at once."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """A setting that does not fit.

    where: its dotted name, or that of its section; "" where several disagree, or none is meant. what: is
    wrong. advice: what to do; "" where `what` says it.
    """

    where: str
    what: str
    advice: str = ""

    def __str__(self) -> str:
        before = f"{self.where}: " if self.where else ""
        after = f"{' —' if self.advice.endswith('?') else ':'} {self.advice}" if self.advice else ""
        return f"{before}{self.what}{after}"


class MisfitError(ValueError):
    """What a section finds wrong with its own settings, and what to do about it."""

    def __init__(self, what: str, advice: str) -> None:
        super().__init__(what, advice)
        self.what, self.advice = what, advice

    def __str__(self) -> str:
        return str(Fault("", self.what, self.advice))


class ConfigError(ValueError):
    """A setting is unknown, missing or out of range. `faults` are all that were found at once.

    The message lists them. A fault in words alone is one of no setting in particular.
    """

    def __init__(self, *faults: Fault | str) -> None:
        super().__init__(*faults)
        self.faults = [fault if isinstance(fault, Fault) else Fault("", fault) for fault in faults]

    def __str__(self) -> str:
        if all(isinstance(fault, str) for fault in self.args):
            return "\n".join(self.args)
        return "\n".join(["the settings do not fit:", *(f"  {fault}" for fault in self.faults)])
