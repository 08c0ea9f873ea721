from .grn import GRN
from .mlp import grn_mlp

__all__ = ['GRN', 'grn_mlp']
