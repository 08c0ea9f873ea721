from .checkpoint import CheckpointHook
from .non_finite import NonFiniteHook
from .pictures import PredictionVisualizationHook
from .preemption import Preempted, PreemptionHook
from .reconstruction import ReconstructionHook
from .throughput import ThroughputHook

__all__ = [
    'CheckpointHook',
    'NonFiniteHook',
    'PredictionVisualizationHook',
    'Preempted',
    'PreemptionHook',
    'ReconstructionHook',
    'ThroughputHook',
]
