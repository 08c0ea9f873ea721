from .reconstruction import ReconstructionHook
from .throughput import ThroughputHook

__all__ = ['ReconstructionHook', 'ThroughputHook']
