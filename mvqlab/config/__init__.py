"""Settings: one typed tree, its YAML presets, and ``key=value`` changes to it."""

from mvqlab.config.data import DataConfig
from mvqlab.config.errors import ConfigError, Fault
from mvqlab.config.loading import (
    PRESET_FOLDER,
    config_from_dict,
    known_keys,
    load_config,
    preset_names,
    save_config,
)
from mvqlab.config.of_stage1 import stage1_settings
from mvqlab.config.overrides import SHORT_NAMES, annotation_of, merged, overrides_of, parse_override
from mvqlab.config.section import Section
from mvqlab.config.settings import (
    Config,
    DiscriminatorConfig,
    EvaluationConfig,
    LossConfig,
    OptimiserConfig,
    SamplingConfig,
    Stage1Config,
    Stage2Config,
    TransformerConfig,
)
from mvqlab.config.stage1_model import BackboneConfig, DemaskConfig, MaskConfig, QuantizerConfig
from mvqlab.config.words import (
    LEARNED_KINDS,
    MASK_KINDS,
    MIXED_NAMES,
    SETS_WITH_TRUE_MASKS,
    TRUE_KINDS,
    ExtractorName,
    PairOrder,
    Precision,
    SceneKind,
)

__all__ = [
    "LEARNED_KINDS",
    "MASK_KINDS",
    "MIXED_NAMES",
    "PRESET_FOLDER",
    "SETS_WITH_TRUE_MASKS",
    "SHORT_NAMES",
    "TRUE_KINDS",
    "BackboneConfig",
    "Config",
    "ConfigError",
    "DataConfig",
    "DemaskConfig",
    "DiscriminatorConfig",
    "EvaluationConfig",
    "ExtractorName",
    "Fault",
    "LossConfig",
    "MaskConfig",
    "OptimiserConfig",
    "PairOrder",
    "Precision",
    "QuantizerConfig",
    "SamplingConfig",
    "SceneKind",
    "Section",
    "Stage1Config",
    "Stage2Config",
    "TransformerConfig",
    "annotation_of",
    "config_from_dict",
    "known_keys",
    "load_config",
    "merged",
    "overrides_of",
    "parse_override",
    "preset_names",
    "save_config",
    "stage1_settings",
]
