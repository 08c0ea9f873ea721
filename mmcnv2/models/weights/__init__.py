"""Weights from anywhere: reading checkpoint files safely, recognising whose layout they have, loading them."""

from .pretrained import PretrainedConvNeXtV2
from .reading import read_state_dict

__all__ = ['PretrainedConvNeXtV2', 'read_state_dict']
