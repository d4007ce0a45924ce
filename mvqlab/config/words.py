"""The words that settings may be: what a preset, an override or a grid can choose by name."""

from __future__ import annotations

from typing import Literal

from pydantic import AfterValidator

from mvqlab.config.errors import MisfitError
from mvqlab.config.nearest import advice_for
from mvqlab.config.own_arms import GIVE_ITS_FILE, NamesOf, names_of, reserve

DataName = Literal["shapes", "emoji", "photos", "fashion", "folder", "torchvision", "mixture"]
SceneKind = Literal["full", "simple"]
MaskKind = Literal[
    "adaptive",  # the paper's: by learned scores
    "upside_down",  # a control: by learned scores, the lowest are kept
    "random",  # table 6's baseline
    "variance",  # by what is measured on the pixels of a region, see models/image_scorers.py
    "gradient",
    "transform",
    "neighbours",
    "entropy",
    "truth",  # by the data's object masks
    "background",  # the opposite
    "dual_grain",  # DQ-VAE's: learned scores say which 2 x 2 blocks get four codes, others have one
    "none",  # the plain VQ model, which quantises every region
]
MaskProduct = Literal["score", "straight_through", "none"]
LEARNED_KINDS = ("adaptive", "upside_down")  # of masks: those that choose by learned scores
TRUE_KINDS = ("truth", "background")  # of masks: those that know the objects
PairOrder = Literal["raster", "score", "random"]
QuantizerKind = Literal["ema", "rotation", "simvq", "fsq", "lfq"]
PairModelKind = Literal["stackformer", "raster", "masked_parallel", "none"]
ScorerKind = Literal["mlp", "conv"]
BackboneKind = Literal["vqgan", "patch"]
BlockKind = Literal["residual", "depthwise"]
Padding = Literal["zeros", "replicate"]
Perceptual = Literal["vgg", "alex", "squeeze", "random", "none"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
ExtractorName = Literal["judge", "lab", "inception", "efficientnet"]

MIXED_NAMES = ("emoji", "fashion", "photos", "shapes", "simple")  # what a mixture can be made of
WITH_TRUE_MASKS = ("shapes", "emoji", "fashion")  # data sets whose object pixels are known
SETS_WITH_TRUE_MASKS = ("OxfordIIITPet", "VOCSegmentation")  # and those among the sets of torchvision


def or_own(place: str, built_in: tuple[str, ...]) -> AfterValidator:
    """Of the setting `place`: one of the words `built_in`, or one that an arm of one's own adds."""
    reserve(place, built_in)

    def known(name: str) -> str:
        if name not in built_in and name not in (names := names_of(place)):
            nearest = advice_for(name, names)
            raise MisfitError(
                f"there is no '{name}'; there are {', '.join(names)}",
                f"{nearest} {GIVE_ITS_FILE[0].upper()}{GIVE_ITS_FILE[1:]}" if nearest else GIVE_ITS_FILE,
            )
        return name

    return AfterValidator(known)


MASK_KINDS = NamesOf("mask.kind")
