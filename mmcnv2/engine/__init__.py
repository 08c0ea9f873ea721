from .hooks import (
    CheckpointHook,
    NonFiniteHook,
    PredictionVisualizationHook,
    Preempted,
    PreemptionHook,
    ReconstructionHook,
    ThroughputHook,
)
from .optimizers import LayerDecayOptimWrapperConstructor
from .strategies import FSDPStrategy

__all__ = [
    'CheckpointHook',
    'FSDPStrategy',
    'LayerDecayOptimWrapperConstructor',
    'NonFiniteHook',
    'PredictionVisualizationHook',
    'Preempted',
    'PreemptionHook',
    'ReconstructionHook',
    'ThroughputHook',
]
