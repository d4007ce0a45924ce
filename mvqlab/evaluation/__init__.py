"""What is measured: reconstructions, codebook, importance, generated images, speed.

scipy, scikit-learn and torchmetrics take long to import: the functions that need one import it themselves.
"""

from mvqlab.evaluation.codebook.comparison import codebook_table
from mvqlab.evaluation.codebook.usage import codebook_redundancy, codebook_usage
from mvqlab.evaluation.images.importance import importance_agreement
from mvqlab.evaluation.images.reconstruction import (
    HeldOut,
    collect,
    reconstruction_quality,
)
from mvqlab.evaluation.images.region_drop import drop_costs
from mvqlab.evaluation.likelihood.by_region import object_and_ground_bits
from mvqlab.evaluation.likelihood.causality import logit_changes
from mvqlab.evaluation.run_report import (
    collect_held_out,
    evaluate_generation,
    evaluate_held_out,
    evaluate_stage1,
    operation_columns,
    stage2_columns,
    training_speed,
)
from mvqlab.evaluation.samples.extractors import FeatureExtractor, build_extractor, build_extractors
from mvqlab.evaluation.samples.judge import judge
from mvqlab.evaluation.samples.memorisation import memorisation
from mvqlab.evaluation.samples.precision_recall import precision_recall
from mvqlab.evaluation.speed import seconds_per_step

__all__ = [
    "FeatureExtractor",
    "HeldOut",
    "build_extractor",
    "build_extractors",
    "codebook_redundancy",
    "codebook_table",
    "codebook_usage",
    "collect",
    "collect_held_out",
    "drop_costs",
    "evaluate_generation",
    "evaluate_held_out",
    "evaluate_stage1",
    "importance_agreement",
    "judge",
    "logit_changes",
    "memorisation",
    "object_and_ground_bits",
    "operation_columns",
    "precision_recall",
    "reconstruction_quality",
    "seconds_per_step",
    "stage2_columns",
    "training_speed",
]
