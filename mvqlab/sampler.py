"""Draw images with a trained model, by its name: `mvqlab.sample(...)` and ``mvqlab sample``.

    drawn = mvqlab.sample(16, "stackformer_classes", class_name="ring", seed=3, guidance=2.0)
    drawn.save("results/rings")

Image number i is the same to the bit whatever else is drawn with it. A product of matrices may round
otherwise in a batch of another size, so images are drawn in blocks of a fixed size, each from a generator of
its own; a block that is not full is filled up with images that nobody sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mvqlab.captions import load_caption_tokenizer
from mvqlab.completion import KeptPart, box, complete_pairs, part_of
from mvqlab.config import Config, SamplingConfig, config_from_dict
from mvqlab.data import build_splits
from mvqlab.data.images import read_square
from mvqlab.data.samples import DataError
from mvqlab.data.seeds import seed_of
from mvqlab.drawn import Drawn, SampleError
from mvqlab.evaluation.generation import to_uint8
from mvqlab.models.mqvae import TokenModel
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs, concatenate
from mvqlab.models.start import CaptionStart, ClassStart
from mvqlab.progress import Progress
from mvqlab.sampling import sample_pairs
from mvqlab.shipped import shipped_card, shipped_folder, shipped_names
from mvqlab.training import load_settings, load_stage1, load_stage2
from mvqlab.training.tokens import order_pairs

BLOCK = 16  # images


def sample(
    n: int = 16,
    model: str | Path = "stackformer",
    *,
    stage1: Path | str | None = None,
    seed: int = 0,
    first: int = 0,
    class_name: str | int | None = None,
    caption: str | None = None,
    complete: Path | str | Tensor | None = None,
    keep: Sequence[int] | Tensor | None = None,
    **settings: float,
) -> Drawn:
    """Draw images number `first` to ``first + n - 1`` of those that `seed` stands for.

    model: a shipped transformer's name, or the folder of a run of stage 2, and then `stage1` the folder of
    its stage 1. class_name: a class by name or number; a class-conditional model without one draws each in
    turn. caption: for a model of captions; "" is none. complete: an image, (3, H, W) in [-1, 1] or a file,
    of which the pairs within `keep` stay: (top, left, bottom, right) in regions, ends left out, or (h, w)
    bool; see `mvqlab.completion`. settings: those of `config.SamplingConfig` that are to differ from the
    model's own; ``guidance=2.0`` stands for both code_guidance and position_guidance.

    Raises SampleError, ConfigError, ShippedError, CheckpointError, DataError.
    """
    if n < 1 or first < 0:
        raise SampleError(f"n must be at least 1 and first at least 0, not {n} and {first}")
    trained = load_trained(model, stage1)
    sampling = _sampling(trained, settings)
    asked = {"model": str(model), "n": n, "first": first, "seed": seed}
    conditions, told, remarks = _conditions(trained, class_name, caption)
    part = given = None
    if complete is not None or keep is not None:
        part, given = _kept_part(trained, complete, keep)
        asked |= {"complete": str(complete) if not isinstance(complete, Tensor) else "an image"}
        asked |= {"keep": keep.tolist() if isinstance(keep, Tensor) else list(keep)}
    asked |= told | {"sampling": sampling.model_dump(mode="json")}
    images, pairs = _draw(trained, range(first, first + n), seed, sampling, conditions, part)
    return Drawn(images, pairs, asked, remarks, given)


@dataclass(frozen=True)
class Trained:
    """A transformer, its stage 1, its settings and the folder that they lie in."""

    model: PairModel
    stage1: TokenModel
    config: Config
    folder: Path


def load_trained(model: str | Path, stage1: Path | str | None = None) -> Trained:
    """A shipped transformer by its name, or one in a folder with the folder of its stage 1.

    Raises SampleError, ShippedError, CheckpointError.
    """
    if str(model) in shipped_names():
        card = shipped_card(str(model))
        if card["stage"] != 2:
            raise SampleError(f"'{model}' is a stage 1, which draws nothing by itself; {_which_there_are()}")
        if stage1 is not None:
            raise SampleError(f"'{model}' comes with its own stage 1, {card['stage1']}: give no other")
        folder, stage1 = shipped_folder(str(model)), shipped_folder(card["stage1"])
    else:
        folder = Path(model)
        if not folder.is_dir():
            raise SampleError(
                f"there is no folder {folder} and no shipped model '{model}'; {_which_there_are()}"
            )
        if stage1 is None:
            raise SampleError(f"give the folder of the stage 1 that {folder} was trained on, too")
    of_stage1 = load_stage1(Path(stage1))
    return Trained(load_stage2(folder, of_stage1), of_stage1, load_settings(folder), folder)


def _which_there_are() -> str:
    names = [name for name in shipped_names() if shipped_card(name)["stage"] == 2]
    return f"there are {', '.join(names)}"


def _sampling(trained: Trained, settings: dict[str, float]) -> SamplingConfig:
    """The model's own settings with those that were asked for. Raises ConfigError, SampleError."""
    changed = dict(settings)
    if "guidance" in changed:
        changed["code_guidance"] = changed["position_guidance"] = changed.pop("guidance")
    whole = trained.config.model_dump(mode="json")
    sampling = config_from_dict({**whole, "sampling": {**whole["sampling"], **changed}}).sampling
    is_guided = (sampling.code_guidance, sampling.position_guidance) != (1.0, 1.0)
    if is_guided and not isinstance(trained.model.start, ClassStart | CaptionStart):
        raise SampleError(f"guidance leads away from 'not told', but {trained.folder.name} is told nothing")
    return sampling


def _conditions(
    trained: Trained, class_name: str | int | None, caption: str | None
) -> tuple[Callable[[range], Tensor | None], dict[str, Any], list[str]]:
    """What images of given numbers are drawn from, what of it was asked for, and remarks on it."""
    start, name = trained.model.start, trained.folder.name
    if class_name is not None and not isinstance(start, ClassStart):
        raise SampleError(f"{name} takes no class; stackformer_classes does")
    if caption is not None and not isinstance(start, CaptionStart):
        raise SampleError(f"{name} takes no caption; stackformer_captions does")
    if isinstance(start, CaptionStart):
        tokenizer = load_caption_tokenizer(trained.folder)
        remarks = [] if caption is None else tokenizer.remarks(caption)
        tokens = tokenizer.encode([caption or ""])
        return lambda numbers: tokens.expand(len(numbers), -1), {"caption": caption or ""}, remarks
    if not isinstance(start, ClassStart):
        return lambda numbers: None, {}, []
    if class_name is None:
        return lambda numbers: torch.tensor(list(numbers)) % start.n_classes, {"class": "each in turn"}, []
    number = _class_number(trained, class_name, start.n_classes)
    return lambda numbers: torch.full((len(numbers),), number), {"class": class_name}, []


def _class_number(trained: Trained, class_name: str | int, n_classes: int) -> int:
    if isinstance(class_name, int) or class_name.isdecimal():
        if 0 <= int(class_name) < n_classes:
            return int(class_name)
        raise SampleError(f"there is no class {class_name}: they go from 0 to {n_classes - 1}")
    names = build_splits(trained.config.data).class_names
    if class_name not in names:
        raise SampleError(f"there is no class '{class_name}': there are {', '.join(names)}")
    return names.index(class_name)


def _kept_part(
    trained: Trained, complete: Path | str | Tensor | None, keep: Sequence[int] | Tensor | None
) -> tuple[KeptPart, tuple[Tensor, Tensor]]:
    if complete is None or keep is None:
        raise SampleError("a completion needs both an image to complete and the region to keep of it")
    stage1 = trained.stage1
    image = complete
    if not isinstance(image, Tensor):
        if not Path(image).is_file():
            raise DataError(f"there is no image {image}")
        pixels = read_square(Path(image), stage1.config.data.resolution, trained.config.data.max_megapixels)
        image = torch.from_numpy(pixels).float().div(127.5).sub(1.0)
    side = stage1.config.data.resolution
    if image.shape != (3, side, side):
        raise SampleError(f"the image to complete must be (3, {side}, {side}), not {tuple(image.shape)}")
    try:
        region = keep.bool().flatten() if isinstance(keep, Tensor) else box(stage1.side, *keep)
        with torch.no_grad():
            encoding = stage1.encode(image.unsqueeze(0), generator=torch.Generator().manual_seed(0))
        part = part_of(order_pairs(encoding, trained.model.order), region)
    except (TypeError, ValueError) as error:
        raise SampleError(str(error)) from None
    return part, (to_uint8(image), region)


@torch.no_grad()
def _draw(
    trained: Trained,
    numbers: range,
    seed: int,
    sampling: SamplingConfig,
    conditions: Callable[[range], Tensor | None],
    part: KeptPart | None,
) -> tuple[Tensor, Pairs]:
    """Images of these numbers, block by block."""
    blocks = range(numbers.start // BLOCK, (numbers.stop - 1) // BLOCK + 1)
    images, pairs = [], []
    with Progress("sampling", len(blocks)) as progress:
        for block in blocks:
            of_block = range(block * BLOCK, (block + 1) * BLOCK)
            generator = torch.Generator().manual_seed(seed_of(seed, "sample", block))
            told = {"generator": generator, "conditions": conditions(of_block)}
            drawn = (
                sample_pairs(trained.model, BLOCK, sampling, **told)
                if part is None
                else complete_pairs(trained.model, part, BLOCK, sampling, **told)
            )
            wanted = slice(max(0, numbers.start - of_block.start), numbers.stop - of_block.start)
            images.append(to_uint8(trained.stage1.decode(drawn))[wanted])
            pairs.append(drawn[wanted])
            progress.advance()
    return torch.cat(images), concatenate(pairs)
