"""Draw images with a trained model, by its name: `mvqlab.sample(...)` and ``mvqlab sample``.

    drawn = mvqlab.sample(16, "fashion_stackformer", class_name="sneaker", seed=3, guidance=2.0)
    drawn.save("results/sneakers")

Image number i is the same to the bit whatever else is drawn with it, on one machine with one number of
threads. A convolution rounds otherwise in a batch of another size, so images are drawn in blocks of a fixed
size, each from a generator of its own; a block that is not full is filled up with images that nobody sees.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mvqlab.config import SamplingConfig, config_from_dict
from mvqlab.data.dataset import DataError
from mvqlab.data.image_files import read_square
from mvqlab.data.pixels import from_uint8, to_uint8
from mvqlab.data.seeds import seed_of
from mvqlab.models.caption_tokenizer import CaptionWarning, load_caption_tokenizer
from mvqlab.models.masked_parallel import MaskedParallel
from mvqlab.models.pairs import Pairs, concatenate
from mvqlab.models.start import CaptionStart, ClassStart
from mvqlab.sampling import sample_pairs
from mvqlab.sampling.completion import CUT_BLOCKS, KeptPart, box, complete_pairs, part_of
from mvqlab.sampling.grain import are_whole_blocks
from mvqlab.support.plain import NotPlainError, plain
from mvqlab.support.progress import Progress
from mvqlab.training.origin import class_names_of
from mvqlab.training.tokens import order_pairs
from mvqlab.zoo.drawn import Drawn, SampleError
from mvqlab.zoo.shipped import shipped_told
from mvqlab.zoo.trained import Trained, load_trained

BLOCK = 16  # images
OF_NEXT_PLACE = ("position_top_k", "position_top_p", "ordered_positions")  # settings that pairs in turn read
OF_PARALLEL = ("parallel_steps", "parallel_noise")
MOST_IMAGES = 1_000_000  # at a time: they are held in memory
MOST_SEEDED = 2**31  # images of one seed
WHOLE = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def sample(
    n: int = 16,
    model: str | Path = "fashion_stackformer",
    *,
    stage1: Path | str | None = None,
    allow_changes: bool = False,
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
    its stage 1, which has to be the one that it was trained on, unless `allow_changes`. class_name: a class
    by name or number ("1" is a name where a class is called so); a class-conditional model without one draws
    each in turn. caption: for a model of captions; "" is none. complete: an image, (3, H, W) in [-1, 1] or
    uint8, or a file, of which the pairs within `keep` stay: (top, left, bottom, right) in regions, ends left
    out, or (h, w) bool; see `sampling.completion`. Pairs stay; the decoder sees the whole image, so pixels
    there may still change a little. settings: those of `config.SamplingConfig` that are to differ from the
    model's own; ``guidance=2.0`` stands for both code_guidance and position_guidance.

    What the model cannot know of the caption is told as a CaptionWarning before anything is drawn.
    ``mvqlab.sample(**drawn.asked)`` draws the same again.

    Raises SampleError, ConfigError, CheckpointError, CaptionError, DataError.
    """
    return prepare(
        n,
        model,
        stage1=stage1,
        allow_changes=allow_changes,
        seed=seed,
        first=first,
        class_name=class_name,
        caption=caption,
        complete=complete,
        keep=keep,
        **settings,
    )()


def prepare(
    n: int,
    model: str | Path,
    *,
    stage1: Path | str | None,
    allow_changes: bool = False,
    seed: int,
    first: int,
    class_name: str | int | None,
    caption: str | None,
    complete: Path | str | Tensor | None,
    keep: Sequence[int] | Tensor | None,
    **settings: float,
) -> Callable[[], Drawn]:
    """Check all that `sample` is asked for, and load the model; gives the function that draws.

    Raises and warns as `sample` does.
    """
    n, seed, first, class_name, caption, settings = _python_s_own(
        n, seed, first, class_name, caption, settings
    )
    if not 1 <= n <= MOST_IMAGES or not 0 <= first < MOST_SEEDED:
        raise SampleError(
            f"n goes from 1 to {MOST_IMAGES} and first from 0 to {MOST_SEEDED}, and they are {n} and {first}"
        )
    trained = load_trained(model, stage1, allow_changes=allow_changes)
    sampling = _sampling(trained, settings)
    asked: dict[str, Any] = {"n": n, "model": str(model), "seed": seed, "first": first}
    if stage1 is not None:
        asked["stage1"] = str(stage1)
    conditions, told, remarks = _conditions(trained, class_name, caption)
    for remark in remarks:
        warnings.warn(remark, CaptionWarning, stacklevel=3)
    part = given = None
    if complete is not None or keep is not None:
        part, given = _kept_part(trained, complete, keep)
        asked |= {"complete": given[0] if isinstance(complete, Tensor) else str(complete)}
        asked |= {"keep": torch.as_tensor(keep).tolist()}
    asked |= told | sampling.model_dump(mode="json")

    def draw() -> Drawn:
        images, pairs = _draw(trained, range(first, first + n), seed, sampling, conditions, part)
        return Drawn(images, pairs, asked, remarks, given)

    return draw


def _python_s_own(*given: Any) -> list[Any]:
    """What was `given`, NumPy's scalars as Python's own, which YAML can write. Raises SampleError."""
    try:
        return plain(given, "what was asked")
    except NotPlainError as error:
        raise SampleError(str(error)) from None


def _sampling(trained: Trained, settings: dict[str, float]) -> SamplingConfig:
    """The model's own settings with those that were asked for. Raises ConfigError, SampleError."""
    changed = dict(settings)
    if "guidance" in changed:
        both = changed.pop("guidance")
        changed = {"code_guidance": both, "position_guidance": both} | changed
    if any(changed.get(part, 1.0) != 1.0 for part in ("code_guidance", "position_guidance")):
        try:
            trained.model.start.null(1)
        except ValueError as error:
            raise SampleError(f"{trained.folder.name} cannot be guided: {error}") from None
    is_parallel = isinstance(trained.model, MaskedParallel)
    own, others = trained.config.sampling, OF_NEXT_PLACE if is_parallel else OF_PARALLEL
    if unread := [name for name in others if changed.get(name, getattr(own, name)) != getattr(own, name)]:
        way = "all places at a time" if is_parallel else "one pair after the other"
        raise SampleError(f"{trained.folder.name} draws {way}, which reads no {' and no '.join(unread)}")
    whole = trained.config.model_dump(mode="json")
    return config_from_dict({**whole, "sampling": {**whole["sampling"], **changed}}).sampling


def _conditions(
    trained: Trained, class_name: str | int | None, caption: str | None
) -> tuple[Callable[[range], Tensor | None], dict[str, Any], list[str]]:
    """What images of given numbers are drawn from, what of it was asked for, and remarks on it."""
    start, name = trained.model.start, trained.folder.name
    if class_name is not None and not isinstance(start, ClassStart):
        raise SampleError(f"{name} takes no class; {_those_told('class')}")
    if caption is not None and not isinstance(start, CaptionStart):
        raise SampleError(f"{name} takes no caption; {_those_told('caption')}")
    if isinstance(start, CaptionStart):
        tokenizer = load_caption_tokenizer(trained.folder)
        tokens = tokenizer.encode([caption or ""])
        told, remarks = ({}, []) if caption is None else ({"caption": caption}, tokenizer.remarks(caption))
        return lambda numbers: tokens.expand(len(numbers), -1), told, remarks
    if not isinstance(start, ClassStart):
        return lambda numbers: None, {}, []
    if class_name is None:
        return lambda numbers: torch.tensor(list(numbers)) % start.n_classes, {}, []
    number = _class_number(trained, class_name, start.n_classes)
    return lambda numbers: torch.full((len(numbers),), number), {"class_name": class_name}, []


def _those_told(condition: str) -> str:
    names = shipped_told(condition)
    return f"{', '.join(names) or 'no shipped model'} {'do' if len(names) > 1 else 'does'}"


def _class_number(trained: Trained, class_name: str | int, n_classes: int) -> int:
    """The number of a class by its name or number; a word of digits is a name where there is such a one."""
    if isinstance(class_name, int):
        return _number_within(class_name, n_classes)
    if class_name.isdecimal():
        with suppress(DataError):  # names may be unknown where the data are not here: it is a number then
            names = class_names_of(trained.folder, trained.config)
            if len(names) == n_classes and class_name in names:
                return names.index(class_name)
        return _number_within(int(class_name), n_classes)
    names = class_names_of(trained.folder, trained.config)
    if len(names) != n_classes:  # of a run of an older version, whose data are others today
        raise SampleError(
            f"{trained.folder.name} knows {n_classes} classes, and its data have {len(names)} today: name "
            f"the class by its number, 0 to {n_classes - 1}"
        )
    if class_name not in names:
        raise SampleError(f"there is no class '{class_name}': there are {', '.join(names)}")
    return names.index(class_name)


def _number_within(number: int, n_classes: int) -> int:
    if 0 <= number < n_classes:
        return number
    raise SampleError(f"there is no class {number}: they go from 0 to {n_classes - 1}")


def _kept_part(
    trained: Trained, complete: Path | str | Tensor | None, keep: Sequence[int] | Tensor | None
) -> tuple[KeptPart, tuple[Tensor, Tensor]]:
    """The pairs that stay; the image, (3, H, W) uint8, and the region, (L,) bool, that they come from."""
    if complete is None or keep is None:
        raise SampleError("a completion needs both an image to complete and the region to keep of it")
    pixels, region = _pixels(trained, complete), _region(trained.stage1.side, keep)
    if trained.model.in_blocks and not are_whole_blocks(region):
        raise SampleError(CUT_BLOCKS)
    image = from_uint8(pixels)
    try:
        with torch.no_grad():
            encoding = trained.stage1.encode(image[None], generator=torch.Generator().manual_seed(0))
    except ValueError as error:  # a mask that needs more than the image
        raise SampleError(str(error)) from None
    pairs = order_pairs(encoding, trained.model.order, torch.Generator().manual_seed(0))
    return part_of(pairs, region), (pixels, region)


def _pixels(trained: Trained, image: Path | str | Tensor) -> Tensor:
    """(3, H, W) uint8, as large as the model's images."""
    resolution = trained.stage1.config.data.resolution
    if isinstance(image, Tensor):
        if image.shape != (3, resolution, resolution):
            shape = tuple(image.shape)
            raise SampleError(f"the image must be (3, {resolution}, {resolution}), not {shape}")
        return to_uint8(image.cpu(), "the image to complete")
    if not Path(image).is_file():
        raise DataError(f"there is no image {image}")
    return torch.from_numpy(read_square(Path(image), resolution, trained.config.data.max_megapixels))


def _region(side: int, keep: Sequence[int] | Tensor) -> Tensor:
    """(L,) bool from a box or a mask."""
    try:
        keep = torch.as_tensor(keep)
        if keep.dtype == torch.bool and keep.shape == (side, side):
            return keep.flatten().cpu()
        if keep.dtype in WHOLE and keep.shape == (4,):
            return box(side, *keep.tolist())
    except (TypeError, ValueError) as error:
        raise SampleError(f"keep: {error}") from None
    raise SampleError(
        f"keep takes a box (top, left, bottom, right) in regions or a mask ({side}, {side}) bool, "
        f"not {keep.dtype} of shape {tuple(keep.shape)}"
    )


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
    with Progress("sampling", len(blocks) * trained.model.drawing_steps(sampling)) as progress:
        for block in blocks:
            of_block = range(block * BLOCK, (block + 1) * BLOCK)
            generator = torch.Generator().manual_seed(seed_of(seed, "sample", block))
            told: dict[str, Any] = {
                "generator": generator,
                "conditions": conditions(of_block),
                "progress": progress.advance,
            }
            drawn = (
                sample_pairs(trained.model, BLOCK, sampling, **told)
                if part is None
                else complete_pairs(trained.model, part, BLOCK, sampling, **told)
            )
            wanted = slice(max(0, numbers.start - of_block.start), numbers.stop - of_block.start)
            images.append(to_uint8(trained.stage1.decode(drawn), f"images of {trained.folder.name}")[wanted])
            pairs.append(drawn[wanted])
    return torch.cat(images), concatenate(pairs)
