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
from .vis_backends import MLflowVisBackend, WandbVisBackend

__all__ = [
    'BFloat16OptimWrapper',
    'CheckpointHook',
    'FSDPStrategy',
    'FeatureProbeHook',
    'LayerDecayOptimWrapperConstructor',
    'MLflowVisBackend',
    'NonFiniteHook',
    'PredictionVisualizationHook',
    'Preempted',
    'PreemptionHook',
    'ReconstructionHook',
    'ThroughputHook',
    'WandbVisBackend',
]
