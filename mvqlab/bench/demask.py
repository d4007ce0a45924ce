"""The de-mask module against the equation as it stands, and against a loop over the images of a batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvqlab.bench.timing import Case, bytes_for_backward, product_rate
from mvqlab.config import BackboneConfig, DemaskConfig
from mvqlab.models.demasking import DemaskModule, DirectionConstrainedAttention

WIDTH, LAYERS = 256, 8
SIDES = 32, 64  # of the grids, in regions
BOUND = "its matrix products alone"


class NaiveDirectionConstrainedAttention(DirectionConstrainedAttention):
    """The equation as it stands: the L x L matrix in memory, its key columns scaled after the softmax."""

    def forward(self, x: Tensor, trust: Tensor | None = None) -> Tensor:
        query, key, value = self.project(x)
        attention = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1)
        if trust is not None:
            attention = attention * trust[:, None, None, :]
        return self.add(x, attention @ value)


class TranscribedDemaskModule(DemaskModule):
    """The module in the manner of the released code: a grid filled image by image, place by place."""

    def __init__(self, config: DemaskConfig, backbone: BackboneConfig, code_dim: int, side: int) -> None:
        super().__init__(config, backbone, code_dim, side)
        self.attentions = nn.ModuleList(
            NaiveDirectionConstrainedAttention(backbone.feature_dim, backbone.norm_groups)
            for _ in range(config.layers)
        )

    def forward(self, regions: Tensor, positions: Tensor) -> Tensor:
        grids, trusts = [], []
        for image, places in zip(regions, positions.tolist(), strict=True):
            grid: list[Tensor] = [self.mask_token] * self.side**2
            trust = [self.trust_in_dropped] * self.side**2
            for region, place in zip(image, places, strict=True):
                grid[place], trust[place] = region, 1.0
            grids.append(torch.stack(grid))
            trusts.append(torch.tensor(trust, device=regions.device))
        x = torch.stack(grids).transpose(1, 2).unflatten(2, (self.side, self.side))
        x, trusted = self.conv_in(self.project(x)), torch.stack(trusts)
        for residual_block, attention in zip(self.residual_blocks, self.attentions, strict=True):
            x = attention(residual_block(x), trusted)
            trusted = trusted.sqrt()
        return self.residual_block_out(x)


def demask_cases(device: torch.device) -> list[Case]:
    """Attention layers alone on both grids, with their memory; the whole module on the smaller one."""
    attention = [case for side in SIDES for case in _attention_cases(device, side)]
    return [*attention, *_module_cases(device, SIDES[0])]


def _attention_cases(device: torch.device, side: int) -> list[Case]:
    x = torch.randn(1, WIDTH, side, side, device=device, requires_grad=True)
    trust = torch.rand(1, side * side, device=device).clamp_min(0.02)
    work = f"de-mask attention, {side * side} positions, {LAYERS} layers, forward + backward"
    cases = []
    for way, kind in (
        ("naive", NaiveDirectionConstrainedAttention),
        ("fused", DirectionConstrainedAttention),
    ):
        layers = nn.ModuleList(kind(WIDTH) for _ in range(LAYERS)).to(device)
        forward = _through(layers, x, trust)
        memory = _bytes(forward)
        cases.append(Case(work, way, "naive", _with_backward(forward), memory=memory))
    bound = LAYERS * operations(side * side, WIDTH) / product_rate(device)
    return [*cases, Case(work, BOUND, "naive", seconds=bound)]


def operations(n_positions: int, width: int) -> int:
    """Floating-point operations of the matrix products of one attention layer, forward and backward.

    Both forms of attention need them: Q K^T and A V, four linear maps, and twice as many to go back.
    """
    attention = 2 * 2 * n_positions**2 * width
    projections = 4 * 2 * n_positions * width**2
    return 3 * (attention + projections)


def _module_cases(device: torch.device, side: int) -> list[Case]:
    n_images, n_kept = 2, side * side // 4
    regions = torch.randn(n_images, n_kept, WIDTH, device=device, requires_grad=True)
    places = torch.rand(n_images, side * side, device=device).argsort(1)[:, :n_kept].sort(1).values
    work = f"de-mask module, {side * side} positions, {n_images} images, forward + backward"
    cases = []
    for way, kind in (("transcribed", TranscribedDemaskModule), ("ours", DemaskModule)):
        module = kind(DemaskConfig(layers=LAYERS), BackboneConfig(feature_dim=WIDTH), WIDTH, side).to(device)

        def forward(module: nn.Module = module) -> Tensor:
            return module(regions, places)

        cases.append(Case(work, way, "transcribed", _with_backward(forward), memory=_bytes(forward)))
    return cases


def _through(layers: nn.ModuleList, x: Tensor, trust: Tensor) -> Callable[[], Tensor]:
    def forward() -> Tensor:
        y = x
        for layer in layers:
            y = layer(y, trust)
        return y

    return forward


def _with_backward(forward: Callable[[], Tensor]) -> Callable[[], None]:
    def run() -> None:
        y = forward()
        F.mse_loss(y, torch.zeros_like(y)).backward()

    return run


def _bytes(forward: Callable[[], Tensor]) -> Callable[[], int]:
    return lambda: bytes_for_backward(forward)
