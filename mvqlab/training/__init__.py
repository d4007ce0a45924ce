"""Training loops for both stages, and what they leave on disk."""

from mvqlab.training.checkpoint import CheckpointError
from mvqlab.training.run_settings import load_settings
from mvqlab.training.shared_stage1 import stage1_once
from mvqlab.training.stage1 import CodebookWarning, load_stage1, train_stage1
from mvqlab.training.stage1_step import Judged, stage1_step
from mvqlab.training.stage2 import build_transformer, load_stage2, train_stage2
from mvqlab.training.stage2_step import stage2_step
from mvqlab.training.state import has_state
from mvqlab.training.tokens import TokenSet, tokenise

__all__ = [
    "CheckpointError",
    "CodebookWarning",
    "Judged",
    "TokenSet",
    "build_transformer",
    "has_state",
    "load_settings",
    "load_stage1",
    "load_stage2",
    "stage1_once",
    "stage1_step",
    "stage2_step",
    "tokenise",
    "train_stage1",
    "train_stage2",
]
