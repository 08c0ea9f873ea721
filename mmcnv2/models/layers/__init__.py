from .depthwise import depthwise_conv2d
from .grn import GRN
from .layer_norm import layer_norm
from .mlp import grn_mlp, layer_scale_mlp
from .plain import is_plain, is_recorded

__all__ = ['GRN', 'depthwise_conv2d', 'grn_mlp', 'is_plain', 'is_recorded', 'layer_norm', 'layer_scale_mlp']
