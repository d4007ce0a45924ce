"""Stackformer and the raster baseline: what may hear what, the cache, and what sampling promises."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import tiny_transformer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mvqlab.config import SamplingConfig, TransformerConfig, load_config
from mvqlab.models.key_value_cache import KeyValueCache, StaticKeyValueCache
from mvqlab.models.linear import Linear, packed_linears
from mvqlab.models.pair_model import PairModel
from mvqlab.models.pairs import Pairs, Part
from mvqlab.models.transformer import Block, weight_decay_groups
from mvqlab.models.transformers import build_stage2, match_parameters, n_parameters
from mvqlab.sampling import sample_pairs, sample_plainly
from mvqlab.sampling.filters import Likeliest, allowed_positions, choose, draw, top_k, top_p

K, SIDE, B = 23, 5, 3
KINDS = {
    "code_first": {},
    "position_first": {"first": "position"},
    "score_order": {"order": "score"},
    "any_order": {"order": "random", "first": "position"},
    "raster": {"model": "raster", "match_parameters": False},
}


def small(kind: str, n_pairs: int = 7, n_classes: int = 0, **changes: object) -> PairModel:
    torch.manual_seed(0)
    options = {"width": 24, "heads": 3, "code_layers": 2, "position_layers": 3}
    config = tiny_transformer(
        **{**options, **KINDS[kind], "condition": "class" if n_classes else "none", **changes}
    )
    if kind == "raster":
        n_pairs = SIDE**2
    model = build_stage2(config, codebook_size=K, side=SIDE, n_pairs=n_pairs, n_classes=n_classes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # so that every part has a say
    return model.eval()


def random_pairs(model: PairModel, n_images: int = B) -> Pairs:
    positions = torch.stack([torch.randperm(SIDE**2)[: model.n_pairs].sort().values for _ in range(n_images)])
    return Pairs(torch.randint(K, (n_images, model.n_pairs)), positions, SIDE)


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest) -> PairModel:
    return small(request.param)


def test_block_equals_a_plain_transformer_block() -> None:
    """Attention written out head by head and place by place."""
    torch.manual_seed(0)
    block = Block(12, 3, dropout=0.0)
    x = torch.randn(2, 5, 12)
    normed = block.norm1(x)
    query, key, value = (
        normed @ w.T + b
        for w, b in zip(
            block.attention.query_key_value.weight.split(12),
            block.attention.query_key_value.bias.split(12),
            strict=True,
        )
    )
    heard = torch.zeros_like(x)
    for h in range(3):
        part = slice(4 * h, 4 * h + 4)
        for t in range(5):
            logits = query[:, t : t + 1, part] @ key[:, : t + 1, part].transpose(1, 2) / math.sqrt(4)
            heard[:, t : t + 1, part] = logits.softmax(-1) @ value[:, : t + 1, part]
    y = x + block.attention.out(heard)
    expected = y + block.mlp[2](F.gelu(block.mlp[0](block.norm2(y))))
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_cached_steps_give_the_logits_of_the_whole_sequence(model: PairModel) -> None:
    pairs = random_pairs(model)
    whole = model(pairs)
    seen: dict[Part, list[Tensor]] = {"code": [], "position": []}

    def take(part: Part, logits: Tensor) -> Tensor:
        seen[part].append(logits)
        return pairs.of(part)[:, len(seen[part]) - 1]

    previous, cache = None, model.begin(B)
    for n in range(model.n_pairs):
        previous = model.next_pair(cache, previous, take)
        assert torch.equal(previous.codes, pairs.codes[:, n : n + 1])
    torch.testing.assert_close(torch.stack(seen["code"], 1), whole.code_logits, atol=1e-5, rtol=0)
    if whole.position_logits is not None:
        torch.testing.assert_close(torch.stack(seen["position"], 1), whole.position_logits, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["code_first", "position_first", "raster"])
def test_what_each_prediction_may_hear(kind: str) -> None:
    """Change pair n: what predicts earlier pairs stays, and the second part of pair n hears its first."""
    model = small(kind)
    pairs, n = random_pairs(model), 3
    before = model(pairs)
    first = model.predicts[0]
    changed = {"code": pairs.codes.clone(), "position": pairs.positions.clone()}
    changed[first][:, n] = (changed[first][:, n] + 1) % (K if first == "code" else SIDE**2)
    after = model(Pairs(changed["code"], changed["position"], SIDE))
    names = {"code": "code_logits", "position": "position_logits"}
    for part in model.predicts:
        old, new = getattr(before, names[part]), getattr(after, names[part])
        hears = part != first  # the second part is predicted in sight of the first
        same_until = n if hears else n + 1
        assert torch.equal(old[:, :same_until], new[:, :same_until])
        assert (old[:, same_until] != new[:, same_until]).any()


def test_loss_is_the_cross_entropy_written_out(model: PairModel) -> None:
    pairs = random_pairs(model)
    logits, loss = model(pairs), model.loss(pairs)
    log_p = logits.code_logits.log_softmax(-1)
    codes = -sum(log_p[b, n, pairs.codes[b, n]] for b in range(B) for n in range(model.n_pairs))
    torch.testing.assert_close(loss.codes, codes / (B * model.n_pairs))
    if loss.positions is None:
        torch.testing.assert_close(loss.total, loss.codes)
        return
    log_p = logits.position_logits.log_softmax(-1)
    places = -sum(log_p[b, n, pairs.positions[b, n]] for b in range(B) for n in range(model.n_pairs))
    told_by_order = math.log(math.factorial(model.n_pairs)) if model.order == "random" else 0.0
    torch.testing.assert_close(loss.positions, (places / B - told_by_order) / model.n_pairs)
    torch.testing.assert_close(loss.total, loss.codes + loss.positions)


def test_every_parameter_learns(model: PairModel) -> None:
    model.loss(random_pairs(model)).total.backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_position_weight_scales_the_positions_loss() -> None:
    model = small("code_first", position_weight=0.5)
    loss = model.loss(random_pairs(model))
    torch.testing.assert_close(loss.total, loss.codes + 0.5 * loss.positions)


@pytest.mark.shapes_unchecked  # other tests see them checked; here they would cost most of the time
@settings(max_examples=25, deadline=None)
@given(
    n_pairs=st.integers(1, SIDE**2),
    kind=st.sampled_from(["code_first", "position_first"]),
    seed=st.integers(0, 99),
    temperature=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
)
def test_every_ordered_sample_obeys(n_pairs: int, kind: str, seed: int, temperature: float) -> None:
    """Positions rise, none repeats, all pairs fit, and no start token is ever drawn."""
    model = small(kind, n_pairs)
    options = SamplingConfig(temperature=temperature, position_top_k=3)
    pairs = sample_pairs(model, 2, options, generator=torch.Generator().manual_seed(seed))
    assert pairs.codes.shape == (2, n_pairs)
    assert (pairs.positions.diff(dim=1) > 0).all()
    assert pairs.positions.min() >= 0 and pairs.positions.max() < SIDE**2
    assert pairs.codes.min() >= 0 and pairs.codes.max() < K


@pytest.mark.parametrize("kind", ["score_order", "code_first"])
def test_without_the_order_no_position_repeats(kind: str) -> None:
    model = small(kind, n_pairs=SIDE**2)
    options = SamplingConfig(ordered_positions=kind == "score_order")
    pairs = sample_pairs(model, 16, options, generator=torch.Generator().manual_seed(3))
    assert all(len(set(row)) == SIDE**2 for row in pairs.positions.tolist())
    assert (pairs.positions.diff(dim=1) < 0).any()


def test_cached_and_uncached_sampling_draw_the_same(model: PairModel) -> None:
    cached = sample_pairs(model, 4, generator=torch.Generator().manual_seed(5))
    uncached = sample_plainly(model, 4, generator=torch.Generator().manual_seed(5))
    assert torch.equal(cached.codes, uncached.codes)
    assert torch.equal(cached.positions, uncached.positions)


def test_a_seed_gives_the_same_samples_and_leaves_the_model_as_it_was(model: PairModel) -> None:
    model.train()
    drawn = [sample_pairs(model, 2, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert model.training
    assert torch.equal(drawn[0].codes, drawn[1].codes)
    assert not torch.equal(drawn[0].codes, drawn[2].codes)


def test_samples_follow_the_models_probabilities() -> None:
    """Frequencies of the first code over many draws against the softmax of its logits."""
    model = small("code_first", n_pairs=1)
    options = SamplingConfig(code_top_k=0, code_top_p=1.0)
    drawn = sample_pairs(model, 20_000, options, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(random_pairs(model, 1)).code_logits[0, 0, :K].softmax(-1)
    frequency = torch.bincount(drawn.codes[:, 0], minlength=K) / 20_000
    assert (frequency - expected).abs().max() < 4 * (0.25 / 20_000) ** 0.5


@pytest.mark.parametrize("kind", ["code_first", "raster"])
def test_classes_lie_outside_the_codes_and_matter(kind: str) -> None:
    model = small(kind, n_classes=4)
    pairs = random_pairs(model, 4)
    with torch.no_grad():
        alike = Pairs(pairs.codes[:1].expand(4, -1), pairs.positions[:1].expand(4, -1), SIDE)
        per_class = model(alike, torch.arange(4))
    assert per_class.code_logits.shape[-1] == K + 1
    assert per_class.code_logits[:, 0].unique(dim=0).shape[0] == 4
    with pytest.raises(ValueError, match="give `conditions`"):
        model(pairs)
    labels = torch.tensor([0, 3])
    sample = sample_pairs(model, 2, generator=torch.Generator().manual_seed(0), conditions=labels)
    assert sample.codes.max() < K


def test_filters_on_known_logits() -> None:
    logits = torch.tensor([[0.1, 0.5, 0.15, 0.25]]).log()
    assert top_k(logits, 2).indices.tolist() == [[1, 3]]
    assert top_k(logits, 0).indices.shape == top_k(logits, 99).indices.shape == (1, 4)
    left = top_p(top_k(logits, 0), 0.7).logits.isfinite().tolist()
    assert left == [[True, True, False, False]]
    assert top_p(top_k(logits, 0), 1e-6).logits.isfinite().tolist() == [[True, False, False, False]]
    assert top_k(torch.zeros(1, 5), 2).indices.shape == (1, 2)
    assert choose(logits, temperature=0.0, k=1, p=0.5).tolist() == [1]


def test_forbidden_choices_are_never_drawn() -> None:
    logits = torch.full((500, 6), float("-inf"))
    logits[:, 4] = -80.0
    generator = torch.Generator().manual_seed(0)
    assert (draw(top_k(logits, 0), generator) == 4).all()
    assert (choose(logits, 1.0, 3, 0.9, generator) == 4).all()


def test_draw_follows_the_probabilities_left() -> None:
    logits, indices = torch.tensor([[0.6, 0.3, 0.1]]).log(), torch.tensor([[7, 2, 5]])
    likeliest = Likeliest(logits.expand(30_000, 3), indices.expand(30_000, 3))
    drawn = draw(likeliest, torch.Generator().manual_seed(0))
    shares = [(drawn == index).float().mean().item() for index in (7, 2, 5)]
    assert shares == pytest.approx([0.6, 0.3, 0.1], abs=0.015)


def test_packed_linears_compute_the_same_and_are_unpacked_afterwards() -> None:
    model = small("code_first")
    states = torch.randn(B, 1, 24)
    mlp = model.code_transformer.blocks[0].mlp
    with torch.no_grad():
        plain = mlp(states)
        with pytest.raises(KeyboardInterrupt), packed_linears(model, B):
            torch.testing.assert_close(mlp(states), plain, atol=1e-5, rtol=1e-5)
            raise KeyboardInterrupt
    assert all(module.packed is None for module in model.modules() if isinstance(module, Linear))


def test_a_static_cache_says_what_a_growing_one_says(model: PairModel) -> None:
    pairs = random_pairs(model)
    said: dict[type, list[Tensor]] = {KeyValueCache: [], StaticKeyValueCache: []}
    for kind, logits in said.items():
        cache, previous = model.begin(B, kind=kind), None
        for n in range(model.n_pairs):

            def take(part: Part, given: Tensor, n: int = n, logits: list[Tensor] = logits) -> Tensor:
                logits.append(given)
                return pairs.of(part)[:, n]

            with torch.no_grad():
                previous = model.next_pair(cache, previous, take)
    for growing, fixed in zip(*said.values(), strict=True):
        torch.testing.assert_close(growing, fixed, atol=1e-5, rtol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_replayed_step_draws_what_a_plain_one_draws(model: PairModel) -> None:
    model = model.cuda()
    drawn = [
        sample_pairs(
            model, B, SamplingConfig(cuda_graph=graph), generator=torch.Generator("cuda").manual_seed(0)
        )
        for graph in (False, True)
    ]
    assert torch.equal(drawn[0].codes, drawn[1].codes) and torch.equal(drawn[0].positions, drawn[1].positions)


@pytest.mark.parametrize("is_enabled", [True, False])
def test_attention_over_a_growing_cache_is_not_left_to_what_plans_for_every_length(
    model: PairModel, is_enabled: bool
) -> None:
    setting = torch.backends.cuda
    before = setting.cudnn_sdp_enabled()
    seen = []
    try:
        setting.enable_cudnn_sdp(is_enabled)
        sample_pairs(
            model,
            B,
            generator=torch.Generator().manual_seed(0),
            progress=lambda: seen.append(setting.cudnn_sdp_enabled()),
        )
        assert seen and not any(seen)
        assert setting.cudnn_sdp_enabled() == is_enabled, "it is put back"
    finally:
        setting.enable_cudnn_sdp(before)


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the host wait for its device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default), func
        return func(*args, **(kwargs or {}))


def test_no_step_waits_for_the_device(model: PairModel) -> None:
    with NoWaiting():
        sample_pairs(model, B, generator=torch.Generator().manual_seed(0))
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NoWaiting():
        torch.ones(1).item()


def test_allowed_positions_leave_room() -> None:
    is_taken = torch.zeros(1, 6, dtype=torch.bool)
    is_taken[0, 1] = True
    allowed = allowed_positions(is_taken, torch.tensor([1]), n_to_come=2)
    assert allowed.tolist() == [[False, False, True, True, False, False]]
    assert allowed_positions(is_taken, None, 2).tolist() == [[True, False, True, True, True, True]]


@pytest.mark.parametrize("rival", ["raster", "masked_parallel"])
@pytest.mark.parametrize("preset", ["shapes32", "shapes64", "photos64", "ffhq256"])
def test_rivals_have_the_stackformers_parameters(preset: str, rival: str) -> None:
    config = load_config(preset)
    sizes = {"codebook_size": config.quantizer.codebook_size, "side": config.grid_side}
    with torch.device("meta"):
        wanted = n_parameters(build_stage2(config.transformer, n_pairs=config.grid_side**2, **sizes))
        of_rival = config.transformer.model_copy(update={"model": rival})
        matched = match_parameters(of_rival, **sizes).model_copy(update={"match_parameters": False})
        found = n_parameters(build_stage2(matched, n_pairs=config.grid_side**2, **sizes))
    assert abs(found / wanted - 1) < 0.02


def test_building_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="keeps 7"):
        build_stage2(TransformerConfig(model="raster"), codebook_size=K, side=SIDE, n_pairs=7)
    with pytest.raises(ValueError, match="no classes"):
        build_stage2(TransformerConfig(condition="class"), codebook_size=K, side=SIDE, n_pairs=7)


def test_weight_decay_falls_on_linear_weights_only() -> None:
    model = small("code_first")
    decayed, rest = weight_decay_groups(model, 0.01)
    assert decayed["weight_decay"] == 0.01 and rest["weight_decay"] == 0.0
    assert all(p.ndim == 2 for p in decayed["params"])
    embeddings = {id(model.code_embedding.weight), id(model.place_embedding)}
    assert embeddings <= {id(p) for p in rest["params"]}
    assert len(decayed["params"]) + len(rest["params"]) == len(list(model.parameters()))
