"""Whether an arm keeps what training, sampling and evaluation rely on, tried on small random tensors.

Symbols: B images; d channels on a grid of h x w = L regions; N of them kept; K codes of dimension n_z.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mvqlab.config import Config, config_from_dict
from mvqlab.config.own_arms import Arm, ArmError, all_arms, use_arms
from mvqlab.models.mask_context import MaskContext
from mvqlab.models.masking import MaskModule
from mvqlab.models.masks import build_mask
from mvqlab.models.pair_model import PairLogits, PairModel
from mvqlab.models.pairs import NO_CODE, Pairs, Part
from mvqlab.models.quantizer import Quantizer
from mvqlab.models.quantizers import build_quantizer
from mvqlab.models.transformers import build_stage2

N_IMAGES, SIDE, N_PAIRS, PIXELS = 3, 5, 7, 40
EVEN_SIDE = 4  # as sides of grids mostly are, and masks may need
SIZES: dict[str, Any] = {
    "quantizer": {"codebook_size": 32, "code_dim": 8},
    "transformer": {"code_layers": 1, "position_layers": 1, "width": 24, "heads": 3, "dropout": 0.0},
}
TOLERANCE = 1e-4


def check(*files: str | Path) -> None:
    """Try all arms of `files`, or all there are, and print a line for each.

    Raises ArmError, also where there is none.
    """
    use_arms(files)
    sources = {str(Path(file).expanduser().resolve()) for file in files}
    arms = [arm for arm in all_arms() if not sources or arm.source in sources]
    if not arms:
        raise ArmError("there is no arm of your own to check: name its file")
    for arm in arms:
        try:
            _CHECKS[arm.place](arm)
        except ArmError as error:
            raise ArmError(f"{arm.key}: {error}") from None
        print(f"{arm.key}: fine")


def check_scorer(scorer: nn.Module, feature_dim: int, *, is_learned: bool = False) -> None:
    """Raise ArmError unless `scorer` gives every region of d = `feature_dim` features one finite score.

    Scores of an image do not depend on the images beside it in the batch, unless they are drawn. Learned
    ones lie in (0, 1), and lead a gradient to the scorer's weights.
    """
    features = _features(N_IMAGES, feature_dim, SIDE, SIDE)
    scorer.eval()
    scores = scorer(features, _context(N_IMAGES))
    wanted = (N_IMAGES, SIDE**2)
    _require(tuple(scores.shape) == wanted, f"scores (B, L) are {wanted} here, not {tuple(scores.shape)}")
    _require(bool(scores.isfinite().all()), "some scores are NaN or infinite")
    if is_learned:
        _require(bool(((scores > 0) & (scores < 1)).all()), "scores of a learned scorer lie in (0, 1)")
        scores.sum().backward()
        learns = any(p.grad is not None and p.grad.any() for p in scorer.parameters())
        _require(learns, "no gradient comes from the scores to the scorer's weights")
        scorer.zero_grad()
    is_drawn = not torch.equal(scorer(features, _context(N_IMAGES, seed=1)), scores)
    if not is_drawn:  # the numbers that an image gets hang on how many are drawn before
        alone = scorer(features[:1], _context(1))
        _same(alone[0], scores[0], "the scores of an image change with the images beside it")


def check_mask(mask: MaskModule, feature_dim: int) -> None:
    """Raise ArmError unless `mask` keeps N different regions of each image and its scorer learns by them.

    It is tried on 4 x 4 regions. feature_dim: d.
    """
    mask.train()
    kept = mask(_features(N_IMAGES, feature_dim, EVEN_SIDE, EVEN_SIDE), _context(N_IMAGES))
    positions, wanted = kept.positions, (N_IMAGES, mask.n)
    _require(
        tuple(positions.shape) == wanted, f"positions (B, N) are {wanted} here, not {tuple(positions.shape)}"
    )
    _require(bool((positions.diff(dim=1) > 0).all()), "positions do not rise, or a region is kept twice")
    _require(
        bool((positions >= 0).all() and (positions < EVEN_SIDE**2).all()), "a position is not from 0 to L - 1"
    )
    kept.features.square().sum().backward()
    learns = any(p.grad is not None and p.grad.any() for p in mask.scorer.parameters())
    _require(learns, "no gradient comes from the kept features to the scorer: leave `weigh` its product")
    mask.zero_grad()


def check_quantizer(quantizer: Quantizer, code_dim: int) -> None:
    """Raise ArmError unless `quantizer` turns features of n_z = `code_dim` into codes and codes into vectors.

    K codes have K vectors; a feature becomes the vector of its code, the same outside training as `nearest`
    says; padding changes nothing; the encoder gets a gradient.
    """
    n_codes = quantizer.size
    everything = torch.arange(n_codes)
    _require(tuple(quantizer.codes.shape) == (n_codes, code_dim), "`codes` has not the shape (size, n_z)")
    _same(quantizer.look_up(everything), quantizer.codes, "`look_up` and `codes` disagree")
    features = _features(2, 6, code_dim)
    made = quantizer.eval()(features)
    _require(made.codes.dtype == torch.int64 and made.codes.shape == (2, 6), "codes are no int64 (B, N)")
    _require(bool(((made.codes >= 0) & (made.codes < n_codes)).all()), "a code is not from 0 to size - 1")
    _same(made.features, quantizer.look_up(made.codes), "features do not become the vectors of their codes")
    _same(made.codes, quantizer.nearest(features), "`nearest` and `quantise` choose other codes")
    for is_training in (False, True):
        _check_padding(quantizer.train(is_training), features)
    learned = features.clone().requires_grad_()
    made = deepcopy(quantizer)(learned)
    (made.features.sum() + made.loss).backward()
    _require(learned.grad is not None and bool(learned.grad.any()), "no gradient comes back to the features")


def _check_padding(quantizer: Quantizer, features: Tensor) -> None:
    """What stands at padding moves neither codes nor loss nor codebook; codes are -1 there, features 0."""
    is_padding = torch.zeros(features.shape[:2], dtype=torch.bool)
    is_padding[0, 4:] = is_padding[1, 1] = True
    wild = features.masked_fill(is_padding.unsqueeze(-1), 1e6)
    made, among_wild, alone = (
        _from_the_same(deepcopy(quantizer), *given)
        for given in ((features, is_padding), (wild, is_padding), (features[~is_padding][None],))
    )
    for one, other in zip(made, among_wild, strict=True):
        _same(one, other, "what stands at padding changes features, codes or loss")
    _same(made.loss, alone.loss, "the loss depends on how much padding there is")
    _same(made.codes[~is_padding], alone.codes[0], "codes depend on how much padding there is")
    is_plain = bool((made.codes[is_padding] == NO_CODE).all()) and not made.features[is_padding].any()
    _require(is_plain, f"padding has the code {NO_CODE} and features 0: leave that to `Quantizer.forward`")


@torch.no_grad()
def check_pair_model(model: PairModel) -> None:
    """Raise ArmError unless `model` draws, pair by pair, from the very logits that it is trained on.

    Those of a pair depend on no later pair.
    """
    model.eval()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # so that every part has a say
        places = torch.stack([torch.randperm(model.side**2) for _ in range(N_IMAGES)])
        positions = places[:, : model.n_pairs].sort(dim=1).values
        codes = torch.randint(model.codebook_size, positions.shape)
    pairs = Pairs(codes, positions, model.side)
    whole = model(pairs)
    _check_nothing_is_foreseen(model, pairs, whole)
    seen: dict[Part, list[Tensor]] = {"code": [], "position": []}

    def take(part: Part, logits: Tensor) -> Tensor:
        seen[part].append(logits)
        return pairs.of(part)[:, len(seen[part]) - 1]

    previous, cache = None, model.begin(N_IMAGES)
    for _ in range(model.n_pairs):
        previous = model.next_pair(cache, previous, take)
    for part in model.predicts:
        logits = torch.stack(seen[part], 1)
        _same(logits, whole.of(part), f"`forward` and `next_pair` disagree about the {part}")


def _check_nothing_is_foreseen(model: PairModel, pairs: Pairs, whole: PairLogits) -> None:
    """Change all from the n-th pair on: logits of pairs before it stay, and its own of what comes first."""
    n = pairs.n_pairs // 2
    codes, positions = pairs.codes.clone(), pairs.positions.clone()
    codes[:, n:] = (codes[:, n:] + 1) % model.codebook_size
    if "position" in model.predicts:
        positions[:, n:] = positions[:, n:].flip(1)
    changed = model(Pairs(codes, positions, pairs.side))
    for part in model.predicts:
        until = n + 1 if part == model.predicts[0] else n
        before, after = whole.of(part), changed.of(part)
        if before is None or after is None:
            raise ArmError(f"`forward` gives no logits of the {part}, which `predicts` names")
        _same(before[:, :until], after[:, :until], f"logits of the {part} foresee what they predict")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ArmError(otherwise)


def _same(one: Tensor, other: Tensor, otherwise: str) -> None:
    is_same = one.shape == other.shape and one.dtype == other.dtype
    _require(is_same and torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE), otherwise)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _features(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=_generator())


def _context(n_images: int, seed: int = 0) -> MaskContext:
    """The first `n_images` of always the same, and random numbers from `seed`."""
    images = torch.rand(N_IMAGES, 3, PIXELS, PIXELS, generator=_generator())[:n_images] * 2.0 - 1.0
    return MaskContext(images, images[:, 0] > 0.5, _generator(seed))


def _from_the_same(module: nn.Module, *given: Tensor) -> Any:
    """What `module` makes of `given`, random numbers beginning at the same place each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return module(*given)


def _settings(arm: Arm) -> Config:
    section, _, leaf = arm.place.partition(".")
    return config_from_dict({**SIZES, section: {**SIZES.get(section, {}), leaf: arm.name}})


def _check_mask_arm(arm: Arm) -> None:
    if not arm.is_mask:
        check_scorer(arm.build(), 16)
        return
    config = _settings(arm)
    mask = build_mask(config.mask, config.backbone, config.quantizer.code_dim, EVEN_SIDE**2)
    check_mask(mask, config.backbone.feature_dim)


def _check_quantizer_arm(arm: Arm) -> None:
    config = _settings(arm).quantizer
    built = build_quantizer(config)
    _require(built.size == config.codebook_size, f"it has {built.size} codes, not quantizer.codebook_size")
    check_quantizer(built, config.code_dim)


def _check_pair_model_arm(arm: Arm) -> None:
    config = _settings(arm).transformer
    built = build_stage2(config, codebook_size=32, side=SIDE, n_pairs=N_PAIRS)
    check_pair_model(built)
    told = {"order": "score", "position_weight": 0.5}
    model = build_stage2(
        config.model_copy(update=told), codebook_size=32, side=SIDE, n_pairs=N_PAIRS, has_end=True
    )
    kept = {**told, "has_end": True, "side": SIDE, "n_pairs": N_PAIRS, "codebook_size": 32}
    for name, value in kept.items():
        found = getattr(model, name)
        _require(found == value, f"its {name} is {found}, where it was given {value}")


_CHECKS: dict[str, Callable[[Arm], None]] = {
    "mask.kind": _check_mask_arm,
    "mask.scorer": lambda arm: check_scorer(arm.build(16), 16, is_learned=True),
    "quantizer.kind": _check_quantizer_arm,
    "transformer.model": _check_pair_model_arm,
}
