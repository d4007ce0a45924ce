"""Stage 2's optimisers: AdamW, or Muon for the matrices of the blocks beside it (results/log/recipe.md)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from mvqlab.config import ConfigError, Stage2Config
from mvqlab.models.transformer import Block, weight_decay_groups

MUON_SINCE = "2.9"  # torch


def build_optimiser(model: nn.Module, options: Stage2Config) -> Optimizer:
    """The optimiser that `options.optimiser` names, for the parameters of `model`.

    Fused where it can be: not with fp16, whose gradients the fused form cannot unscale for clipping.
    Raises ConfigError where this torch has no Muon.
    """
    check_optimiser(options)
    groups = weight_decay_groups(model, options.weight_decay)
    how: dict[str, Any] = {
        "lr": options.learning_rate,
        "betas": options.betas,
        "fused": options.precision != "16-mixed",
    }
    if options.optimiser == "adamw":
        return AdamW(groups, **how)
    matrices = block_matrices(model)
    in_blocks = {id(matrix) for matrix in matrices}
    for group in groups:
        group["params"] = [p for p in group["params"] if id(p) not in in_blocks]
    muon = torch.optim.Muon(
        matrices,
        lr=options.learning_rate,
        weight_decay=options.weight_decay,
        adjust_lr_fn="match_rms_adamw",  # steps as long as AdamW's, so that one rate serves both
    )
    return MuonWithAdamW(muon, AdamW(groups, **how))


def check_optimiser(options: Stage2Config) -> None:
    """Raise ConfigError if this torch has not the optimiser that is asked for."""
    if options.optimiser == "muon" and not hasattr(torch.optim, "Muon"):
        raise ConfigError(
            f"stage2.optimiser=muon needs torch {MUON_SINCE} or newer, and this is {torch.__version__}: "
            "update torch, or set stage2.optimiser=adamw"
        )


def block_matrices(model: nn.Module) -> list[Tensor]:
    """The weights of the linear layers inside the transformers' blocks."""
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    return [layer.weight for block in blocks for layer in block.modules() if isinstance(layer, nn.Linear)]


class MuonWithAdamW(Optimizer):
    """Both as one optimiser, with one state: what clips, saves or sets rates need not know of two.

    Muon (Jordan et al. 2024) makes a matrix's step orthogonal, which is meant for layers that turn states
    into states. Embeddings, heads, norms and biases stay with AdamW, as its authors advise.
    """

    def __init__(self, muon: Optimizer, adamw: Optimizer) -> None:
        super().__init__([*muon.param_groups, *adamw.param_groups], defaults={})
        self._muon, self._adamw = muon, adamw
        self._share()

    def step(self, closure: Any = None) -> Any:
        """One step of each."""
        loss = self._muon.step(closure)
        self._adamw.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)  # puts new groups and a new state in the place of the old
        self._share()

    def _share(self) -> None:
        n = len(self._muon.param_groups)
        self._muon.param_groups, self._adamw.param_groups = self.param_groups[:n], self.param_groups[n:]
        self._muon.state = self._adamw.state = self.state
