from .hooks import ReconstructionHook, ThroughputHook
from .optimizers import LayerDecayOptimWrapperConstructor

__all__ = ['LayerDecayOptimWrapperConstructor', 'ReconstructionHook', 'ThroughputHook']
