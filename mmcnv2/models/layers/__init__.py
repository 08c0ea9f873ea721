from .depthwise import depthwise_conv2d
from .grn import GRN
from .mlp import grn_mlp

__all__ = ['GRN', 'depthwise_conv2d', 'grn_mlp']
