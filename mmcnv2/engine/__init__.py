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

__all__ = [
    'CheckpointHook',
    'EpochBasedTrainLoop',
    'IterBasedTrainLoop',
    'LayerDecayOptimWrapperConstructor',
    'NonFiniteHook',
    'Preempted',
    'PreemptionHook',
    'ReconstructionHook',
    'ThroughputHook',
]
