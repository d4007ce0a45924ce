"""The values that settings may be: numbers with their bounds, ranges, shares by name, several names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from mvqlab.config.errors import Fault
from mvqlab.config.nearest import advice_for
from mvqlab.config.words import MIXED_NAMES, ExtractorName

Ratio = Annotated[float, Field(ge=0.0, lt=1.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
# Upper bounds refuse what no machine holds before any memory is asked for; what one holds is its own matter.
Count = Annotated[int, Field(ge=1, lt=2**31)]
NonNegative = Annotated[int, Field(ge=0, lt=2**31)]
Side = Annotated[int, Field(ge=8, le=2**14)]  # of images, pixels
Images = Annotated[int, Field(ge=1, le=10**8)]  # of a split: their numbers are held in memory
Measured = Annotated[int, Field(ge=0, le=10**7)]  # images whose features are held in memory
Batch = Annotated[int, Field(ge=1, le=2**16)]
Channels = Annotated[int, Field(ge=1, le=2**16)]
Layers = Annotated[int, Field(ge=0, le=2**10)]
SomeLayers = Annotated[Layers, Field(ge=1)]
Rows = Annotated[int, Field(ge=0, le=2**22)]  # of a table of embeddings
SomeRows = Annotated[Rows, Field(ge=1)]
PatchSide = Annotated[int, Field(ge=2, le=2**14)]  # pixels
CaptionTokens = Annotated[int, Field(ge=2, le=2**16)]
AtLeastTwo = Annotated[Measured, Field(ge=2)]
Redrawn = Annotated[int, Field(ge=0, le=10**6)]  # sets of a bootstrap
Multiplier = Annotated[int, Field(ge=1, le=2**10)]
Processes = Annotated[int, Field(ge=0, le=2**10)]
Positive = Annotated[float, Field(gt=0.0)]
Weight = Annotated[float, Field(ge=0.0)]
Momentum = Annotated[float, Field(ge=0.0, lt=1.0)]
Multipliers = Annotated[tuple[Multiplier, ...], Field(min_length=1, max_length=12)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _ratio_or_range(value: Any) -> float | tuple[float, float]:
    """A ratio, or a range of ratios [low, high]."""
    if not isinstance(value, list | tuple):
        return _ratio(value)
    if len(value) != 2 or not (low := _ratio(value[0])) < (high := _ratio(value[1])):
        raise ValueError("a range of ratios is two of them, rising: [low, high]")
    return low, high


def _ratio(value: Any) -> float:
    try:
        ratio = float(value)
    except (TypeError, ValueError):
        ratio = None
    if ratio is None or isinstance(value, bool):
        raise ValueError("must be a number, or a range of numbers [low, high]")
    if not 0.0 <= ratio < 1.0:
        raise ValueError("must be at least 0 and less than 1")
    return ratio


RatioOrRange = Annotated[float | tuple[float, float], BeforeValidator(_ratio_or_range)]


def _mixture(value: Any) -> dict[str, float]:
    """Shares by name, in the order of `MIXED_NAMES`, however they were written down."""
    if not isinstance(value, Mapping):
        raise ValueError("must be shares by name, such as {photos: 0.8, simple: 0.2}")
    for name, share in value.items():
        if name not in MIXED_NAMES:
            nearest = Fault("", f"knows no '{name}'", advice_for(str(name), MIXED_NAMES))
            raise ValueError(f"{nearest}; {KNOWN_MIXED}")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0.0 < share < math.inf:
            raise ValueError(f"the share of '{name}' must be a number above 0, not {share!r}")
    return {name: float(value[name]) for name in MIXED_NAMES if name in value}


KNOWN_MIXED = f"known: {', '.join(MIXED_NAMES)}"
Mixture = Annotated[dict[str, float], BeforeValidator(_mixture)]


def _none_or_two(n_images: int) -> int:
    if n_images == 1:
        raise ValueError("FID and KID need at least two images; 0 leaves generation out")
    return n_images


NoneOrTwo = Annotated[Measured, AfterValidator(_none_or_two)]


def _extractors(value: Any) -> str | tuple[str, ...]:
    """One name, or several in a list, which stand for columns of their own."""
    if isinstance(value, str):
        value = value.strip().removeprefix("[").removesuffix("]").split(",")
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("must be the name of an extractor, or a list of names such as [judge, efficientnet]")
    names, known = list(dict.fromkeys(str(name).strip() for name in value)), get_args(ExtractorName)
    for name in names:
        if name not in known:
            nearest = Fault("", f"knows no '{name}'", advice_for(name, known))
            raise ValueError(f"{nearest}; known: {', '.join(known)}")
    return names[0] if len(names) == 1 else tuple(names)


Extractors = Annotated[ExtractorName | tuple[ExtractorName, ...], BeforeValidator(_extractors)]
