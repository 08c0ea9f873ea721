from .checkpoint import CheckpointHook
from .compile import CompileHook
from .non_finite import NonFiniteHook
from .partial_load import PartialLoadHook
from .preemption import Preempted, PreemptionHook
from .reconstruction import ReconstructionHook
from .save_predictions import SavePredictionsHook
from .throughput import ThroughputHook

__all__ = [
    'CheckpointHook',
    'CompileHook',
    'NonFiniteHook',
    'PartialLoadHook',
    'Preempted',
    'PreemptionHook',
    'ReconstructionHook',
    'SavePredictionsHook',
    'ThroughputHook',
]
