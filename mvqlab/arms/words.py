"""The decorators by which a file of one's own adds words to settings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import nn

from mvqlab.config.own_arms import ArmError, Builder, add
from mvqlab.models.masking import AdaptiveMask
from mvqlab.models.pair_model import PairModel
from mvqlab.models.quantizer import Quantizer

Built = TypeVar("Built", bound=Builder)


def mask_scorer(name: str) -> Callable[[Built], Built]:
    """``mask.kind=NAME``: what chooses the regions that are kept, and learns nothing. Raises ArmError."""
    return _adds("mask.kind", name, nn.Module, sys._getframe(1).f_globals)


def learned_mask(name: str) -> Callable[[Built], Built]:
    """``mask.kind=NAME``: an `AdaptiveMask`, which chooses by learned scores. Raises ArmError."""
    return _adds("mask.kind", name, AdaptiveMask, sys._getframe(1).f_globals)


def learned_scorer(name: str) -> Callable[[Built], Built]:
    """``mask.scorer=NAME``: a scorer f_s that learns, for mask.kind=adaptive. Raises ArmError."""
    return _adds("mask.scorer", name, nn.Module, sys._getframe(1).f_globals)


def quantizer(name: str) -> Callable[[Built], Built]:
    """``quantizer.kind=NAME``: a `Quantizer`. Raises ArmError."""
    return _adds("quantizer.kind", name, Quantizer, sys._getframe(1).f_globals)


def pair_model(name: str) -> Callable[[Built], Built]:
    """``transformer.model=NAME``: a `PairModel`. Raises ArmError."""
    return _adds("transformer.model", name, PairModel, sys._getframe(1).f_globals)


def _adds(
    place: str, name: str, kind: type[nn.Module], module: Mapping[str, Any]
) -> Callable[[Built], Built]:
    if not isinstance(name, str):
        raise ArmError(f'{place}: the decorator takes the word that is to stand there, such as ("centre")')

    def decorate(build: Built) -> Built:
        if isinstance(build, type) and not issubclass(build, kind):
            raise ArmError(f"{place}={name}: {build.__name__} is no {kind.__name__}, which it has to be")
        add(place, name, build, module, is_mask=kind is AdaptiveMask)
        return build

    return decorate
