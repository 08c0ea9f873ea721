from .hooks import (
    CheckpointHook,
    FeatureProbeHook,
    NonFiniteHook,
    PredictionVisualizationHook,
    Preempted,
    PreemptionHook,
    ReconstructionHook,
    ThroughputHook,
)
from .optimizers import BFloat16OptimWrapper, LayerDecayOptimWrapperConstructor
from .strategies import FSDPStrategy

__all__ = [
    'BFloat16OptimWrapper',
    'CheckpointHook',
    'FSDPStrategy',
    'FeatureProbeHook',
    'LayerDecayOptimWrapperConstructor',
    'NonFiniteHook',
    'PredictionVisualizationHook',
    'Preempted',
    'PreemptionHook',
    'ReconstructionHook',
    'ThroughputHook',
]
