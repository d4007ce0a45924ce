"""Draw new images from stage 2: pair by pair, each code and then its position (section 3.2).

How one choice is made from its logits stands in `mvqlab.sampling.filters`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from mvqlab.config import Config, SamplingConfig
from mvqlab.models.linear import packed_linears
from mvqlab.models.mqvae import TokenModel
from mvqlab.models.pair_model import NextPair, PairCache, PairModel, Part
from mvqlab.models.pairs import NO_CODE, Pairs, concatenate
from mvqlab.models.start import ClassStart
from mvqlab.sampling.cuda_graph import ReplayedStep
from mvqlab.sampling.filters import FORBIDDEN, allowed_positions, choose, guided
from mvqlab.sampling.quick_steps import quick_choice, quick_steps
from mvqlab.support.progress import Progress

# what draws where nobody says how; the defaults of `SamplingConfig` are the published filters
UNFILTERED = SamplingConfig().without_filters()
Listen = Callable[[Part, Tensor], object]  # told what is drawn, and the logits that it is drawn from


class _Chooser:
    """Draws codes and positions for a batch of sequences and keeps track of the places taken."""

    def __init__(
        self,
        model: PairModel,
        n_images: int,
        settings: SamplingConfig,
        generator: torch.Generator,
        listen: Listen | None = None,
    ) -> None:
        self.model, self.settings, self.generator, self.listen = model, settings, generator, listen
        self.is_ordered = settings.ordered_positions and model.order == "raster"
        device = generator.device
        self.n_places = model.side**2
        self.is_taken = torch.zeros(n_images, self.n_places + 1, dtype=torch.bool, device=device)
        self.has_ended = torch.zeros(n_images, dtype=torch.bool, device=device)
        self.last = torch.full((n_images,), -1, device=device)
        self.n_drawn = torch.zeros(1, dtype=torch.long, device=device)
        self.choose = choose
        self.draw = {"code": self.code, "position": self.position}

    def code(self, logits: Tensor) -> Tensor:
        size = self.model.codebook_size
        codes = logits[:, :size]  # what lies beyond only starts a sequence, or ends it
        if self._may_end("code"):
            has_room = self._allowed().any(dim=1, keepdim=True)
            codes = self._with_end(codes.masked_fill(~has_room, FORBIDDEN), logits[:, size])
        chosen = self._choose("code", codes, self.settings.code_top_k, self.settings.code_top_p)
        return self._unless_ended(chosen, size)

    def position(self, logits: Tensor) -> Tensor:
        places = logits[:, : self.n_places].masked_fill(~self._allowed(), FORBIDDEN)
        if self._may_end("position"):
            places = self._with_end(places, logits[:, self.n_places])
        chosen = self._choose("position", places, self.settings.position_top_k, self.settings.position_top_p)
        return self._unless_ended(chosen, self.n_places)

    def _allowed(self) -> Tensor:
        """Where the next pair may go (B, L); anywhere in images that have ended, where it goes nowhere."""
        last = self.last if self.is_ordered else None
        n_to_come = 0 if self.model.has_end else self.model.n_pairs - 1 - self.n_drawn
        allowed = allowed_positions(self.is_taken[:, :-1], last, n_to_come)
        return allowed | self.has_ended.unsqueeze(1)

    def is_done(self) -> bool:
        """Whether every image has ended, so that nothing is left to draw."""
        return self.model.has_end and bool(self.has_ended.all())

    def _may_end(self, part: Part) -> bool:
        return self.model.has_end and self.model.predicts[0] == part

    def _with_end(self, possible: Tensor, end: Tensor) -> Tensor:
        """`possible` (B, n) and as one choice more the end (B,), which no image has before its first pair."""
        return torch.cat([possible, end.masked_fill(self.n_drawn == 0, FORBIDDEN).unsqueeze(1)], dim=1)

    def _unless_ended(self, chosen: Tensor, end: int) -> Tensor:
        """`chosen` (B,), or once more `end` in images that have ended; `end` itself ends them."""
        if self.model.has_end:
            chosen = chosen.masked_fill(self.has_ended, end)
            self.has_ended.copy_(chosen == end)
        return chosen

    def _choose(self, part: Part, possible: Tensor, k: int, p: float) -> Tensor:
        if self.listen is not None:
            self.listen(part, possible)
        return self.choose(possible, self.settings.temperature, k, p, self.generator)

    def note(self, pair: NextPair) -> None:
        self.is_taken.scatter_(1, pair.positions.unsqueeze(1), True)
        self.last.copy_(pair.positions)
        self.n_drawn += 1


def chooser_of(
    model: PairModel, n_images: int, settings: SamplingConfig, generator: torch.Generator
) -> _Chooser:
    """What draws the codes and positions of `n_images` sequences from logits, to be timed by itself."""
    return _Chooser(model, n_images, settings, _on_device(generator, model))


class _Guide:
    """A chooser for pairs of sequences, one told the condition and one not: both get the same pair."""

    def __init__(self, chooser: _Chooser, n_images: int) -> None:
        self.chooser, self.n_images = chooser, n_images
        self.draw = {"code": self.code, "position": self.position}

    def code(self, logits: Tensor) -> Tensor:
        return self.chooser.code(guided(logits, self.chooser.settings.code_guidance)).repeat(2)

    def position(self, logits: Tensor) -> Tensor:
        return self.chooser.position(guided(logits, self.chooser.settings.position_guidance)).repeat(2)

    def note(self, pair: NextPair) -> None:
        self.chooser.note(NextPair(pair.codes[: self.n_images], pair.positions[: self.n_images]))


def with_null(model: PairModel, n_images: int, conditions: Tensor | None) -> Tensor:
    """`conditions`, and as many that tell nothing after them, for guidance. Raises as `Start.null` does."""
    nothing = model.start.null(n_images)
    told = nothing if conditions is None else conditions
    return torch.cat([told, nothing.to(told.device)])


@torch.no_grad()
def sample_pairs(
    model: PairModel,
    n_images: int,
    settings: SamplingConfig | None = None,
    *,
    generator: torch.Generator,
    conditions: Tensor | None = None,
    progress: Callable[[], object] | None = None,
    listen: Listen | None = None,
) -> Pairs:
    """Draw `n_images` sequences of pairs, with a key/value cache: each transformer runs once a pair.

    Works for Stackformer, code first or position first, and for the raster baseline alike. No place is
    used twice; with `settings.ordered_positions` positions rise where the model was trained so. If its
    sequences have an end, each image has at least one pair, and what comes after its last is padding.

    settings: default: no filter, no guidance (`UNFILTERED`), not the published filters, which delete rare
    codes. generator: on the model's device. conditions: classes (B,) or tokens of captions (B, T), if the
    model takes them; with `settings.code_guidance` or `position_guidance` other than 1 a second one, told
    nothing, is read beside each (see `guided`). progress: called after every pair. listen: called before
    every draw with its part and its logits (B, n), in which what is impossible is -inf; see
    `mvqlab.sampling.trace`. The model's training mode is left as it was.
    """
    settings = settings or UNFILTERED
    is_guided = settings.is_guided
    if is_guided:
        conditions = with_null(model, n_images, conditions)
    n_rows = n_images * (1 + is_guided)
    chooser = _Chooser(model, n_images, settings, _on_device(generator, model), listen)
    # a replayed step calls nobody
    use_graph = settings.cuda_graph and generator.device.type == "cuda" and listen is None
    kernels = settings.kernels if use_graph else "plain"
    chooser.choose = quick_choice(kernels)
    with (
        Evaluating(model),
        packed_linears(model, n_rows),
        quick_steps(model, kernels, n_rows),
        attention_without_plans(is_needed=not use_graph),
    ):
        cache = model.begin(n_rows, conditions, static=use_graph)
        step = _Step(model, cache, _Guide(chooser, n_images) if is_guided else chooser)
        go_on = ReplayedStep(step, generator) if use_graph else step
        drawn = [step.copy_of_newest()]
        for n in range(model.n_pairs):
            if n > 0 and not chooser.is_done():
                go_on()
                drawn.append(step.copy_of_newest())
            if progress is not None:
                progress()
    pairs = _stack(drawn, model.side)[:n_images]
    return pairs.trimmed() if model.has_end else pairs


class _Step:
    """Draws one pair more at every call. What it keeps is written in place, so that a GPU can replay it."""

    def __init__(self, model: PairModel, cache: PairCache, chooser: _Chooser | _Guide) -> None:
        self.model, self.cache, self.chooser = model, cache, chooser
        self.newest = model.next_pair(cache, None, chooser.draw)
        chooser.note(self.newest)

    def __call__(self) -> None:
        pair = self.model.next_pair(self.cache, self.newest, self.chooser.draw)
        self.chooser.note(pair)
        self.newest.codes.copy_(pair.codes)
        self.newest.positions.copy_(pair.positions)

    def copy_of_newest(self) -> NextPair:
        return NextPair(self.newest.codes.clone(), self.newest.positions.clone())


@torch.no_grad()
def sample_pairs_uncached(
    model: PairModel,
    n_images: int,
    settings: SamplingConfig | None = None,
    *,
    generator: torch.Generator,
    conditions: Tensor | None = None,
) -> Pairs:
    """The same in the manner of the released code: the whole prefix is read anew for each part of a pair.

    Here to be compared with and tested against; its samples are those of `sample_pairs`, without
    guidance, of which it knows nothing.
    """
    chooser = _Chooser(model, n_images, settings or UNFILTERED, _on_device(generator, model))
    drawn: list[NextPair] = []
    with Evaluating(model):
        for n in range(model.n_pairs):
            nothing = torch.zeros(n_images, dtype=torch.long, device=generator.device)
            parts = {"code": nothing, "position": nothing + n}
            for part in model.predicts:
                # What stands in the newest pair cannot be heard by the logits that predict it.
                newest = NextPair(parts["code"], parts["position"])
                logits = model(_stack([*drawn, newest], model.side), conditions)
                of_part = logits.code_logits if part == "code" else logits.position_logits
                parts[part] = chooser.draw[part](of_part[:, -1])
            drawn.append(NextPair(parts["code"], parts["position"]))
            chooser.note(drawn[-1])
    return _stack(drawn, model.side).trimmed()


@dataclass(frozen=True)
class Samples:
    """Drawn images (M, 3, H, W), their pairs, and the seconds that drawing the pairs and decoding took."""

    images: Tensor
    pairs: Pairs
    seconds: float


def _stack(pairs: list[NextPair], side: int) -> Pairs:
    codes, positions = (torch.stack(list(part), dim=1) for part in zip(*pairs, strict=True))
    return Pairs(codes.masked_fill(positions == side**2, NO_CODE), positions, side)


def _on_device(generator: torch.Generator, model: PairModel) -> torch.Generator:
    device = next(model.parameters()).device
    if generator.device.type != device.type:
        raise ValueError(
            f"the generator is on {generator.device}, the model on {device}: use torch.Generator('{device}')"
        )
    return generator


@contextmanager
def attention_without_plans(is_needed: bool = True) -> Iterator[None]:
    """Inside the `with`, attention is not cuDNN's, if that `is_needed`: where the number of keys grows.

    On an H100, torch hands attention in half precision to cuDNN, which plans anew, for tens of milliseconds,
    at every length that it has not seen: at every pair, that is. The other kernels need no plan. The setting
    is torch's, of the whole process, while it lasts.
    """
    was_enabled = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(was_enabled and not is_needed)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(was_enabled)


class Evaluating:
    """Evaluation mode inside a `with`, and whatever it was afterwards."""

    def __init__(self, model: PairModel) -> None:
        self.model, self.was_training = model, model.training

    def __enter__(self) -> None:
        self.model.eval()

    def __exit__(self, *_: object) -> None:
        self.model.train(self.was_training)


def sample_images(
    model: PairModel, stage1: TokenModel, config: Config, conditions: Tensor | None = None
) -> Samples:
    """Draw `config.evaluation.samples` images, batch by batch, from `config.seed`; they come back on the CPU.

    conditions: classes (M,) or tokens of captions (M, T), one an image. A class-conditional model that is
    given none draws each class in turn, a model of captions draws as without one. Of 0 images come tensors
    without rows.
    """
    device = next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(config.seed)
    size, n_images = config.evaluation.batch_size, config.evaluation.samples
    if conditions is None and isinstance(model.start, ClassStart):
        conditions = torch.arange(n_images) % model.start.n_classes
    pairs, images = [], []
    began = time.perf_counter()
    batches = [range(first, min(first + size, n_images)) for first in range(0, n_images, size)] or [range(0)]
    with Progress("sampling", len(batches) * model.n_pairs) as progress:
        for rows in batches:
            mine = None if conditions is None else conditions[rows.start : rows.stop]
            drawn = sample_pairs(
                model,
                len(rows),
                config.sampling,
                generator=generator,
                conditions=mine,
                progress=progress.advance,
            )
            with torch.no_grad():
                images.append(stage1.decode(drawn).cpu())
            pairs.append(drawn.to("cpu"))
    return Samples(torch.cat(images), concatenate(pairs), time.perf_counter() - began)
