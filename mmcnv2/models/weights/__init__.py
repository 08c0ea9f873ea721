"""Weights from anywhere: reading checkpoint files safely, recognising whose layout they have, loading them."""

from .layouts import LAYOUTS, Layout, recognise
from .pretrained import PretrainedConvNeXtV2
from .reading import read_state_dict

__all__ = ['LAYOUTS', 'Layout', 'PretrainedConvNeXtV2', 'read_state_dict', 'recognise']
