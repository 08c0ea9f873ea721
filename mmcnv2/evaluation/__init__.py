from .reconstruction_error import ReconstructionError

__all__ = ['ReconstructionError']
