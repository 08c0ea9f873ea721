from .hooks import (
    CheckpointHook,
    NonFiniteHook,
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
    'Preempted',
    'PreemptionHook',
    'ReconstructionHook',
    'ThroughputHook',
]
