"""Which tokens are visible, and the one operation that looks at neighbours.

``mask.py`` draws and checks masks, ``layout.py`` says where the tokens of each stage sit, ``backends/`` holds one
file per implementation of the masked depthwise convolution.
"""

from .backends import make_layout
from .layout import Layout
from .mask import PATCH_SIZE, check_mask, patch_indices, random_mask

__all__ = ['PATCH_SIZE', 'Layout', 'check_mask', 'make_layout', 'patch_indices', 'random_mask']
