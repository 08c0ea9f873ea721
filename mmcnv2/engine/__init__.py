from .hooks import ReconstructionHook, ThroughputHook
from .optimizers import LayerDecayOptimWrapperConstructor
from .strategies import FSDPStrategy

__all__ = ['FSDPStrategy', 'LayerDecayOptimWrapperConstructor', 'ReconstructionHook', 'ThroughputHook']
