from .checkpoint import CheckpointHook
from .compile import CompileHook
from .constant_targets import ConstantTargetsHook
from .curves import CurvesHook
from .feature_probe import FeatureProbeHook
from .non_finite import NonFiniteHook
from .partial_load import PartialLoadHook
from .pictures import PredictionVisualizationHook
from .preemption import Preempted, PreemptionHook
from .reconstruction import ReconstructionHook
from .save_predictions import SavePredictionsHook
from .summary import SummaryHook
from .throughput import ThroughputHook

__all__ = [
    'CheckpointHook',
    'CompileHook',
    'ConstantTargetsHook',
    'CurvesHook',
    'FeatureProbeHook',
    'NonFiniteHook',
    'PartialLoadHook',
    'PredictionVisualizationHook',
    'Preempted',
    'PreemptionHook',
    'ReconstructionHook',
    'SavePredictionsHook',
    'SummaryHook',
    'ThroughputHook',
]
