from .hooks import (
    CheckpointHook,
    NonFiniteHook,
    Preempted,
    PreemptionHook,
    ReconstructionHook,
    ThroughputHook,
)
from .loops import EpochBasedTrainLoop, IterBasedTrainLoop
from .optimizers import LayerDecayOptimWrapperConstructor
from .strategies import FSDPStrategy

__all__ = [
    'CheckpointHook',
    'EpochBasedTrainLoop',
    'FSDPStrategy',
    'IterBasedTrainLoop',
    'LayerDecayOptimWrapperConstructor',
    'NonFiniteHook',
    'Preempted',
    'PreemptionHook',
    'ReconstructionHook',
    'ThroughputHook',
]
