"""Implementations of the masked depthwise convolution on packed visible tokens, one file each.

To add one, write ``<name>.py`` here with a function ``depthwise_conv`` of type ``DepthwiseConv``; its name is then a
value of ``sparse_backend`` (a leading underscore marks a helper). Optional packages are imported in that file, so only
its users need them. (``dense`` has no file here: it keeps the full grid, see ``layout.MaskedGrid``.)
"""

from importlib import import_module
from pkgutil import iter_modules

from torch import Tensor

from mmcnv2.utils.errors import InputError

from ..layout import DepthwiseConv, FullGrid, Layout, MaskedGrid, VisibleTokens

BACKENDS = tuple(sorted(['dense', *(m.name for m in iter_modules(__path__) if not m.name.startswith('_'))]))


def check_backend(name: str) -> None:
    """Raise ValueError unless ``name`` is a value of ``sparse_backend``."""
    if name not in BACKENDS:
        raise InputError(f'sparse_backend must be one of {", ".join(BACKENDS)}, got {name!r}')


def load_backend(name: str) -> DepthwiseConv:
    """Return the convolution of a backend on visible tokens."""
    check_backend(name)
    return import_module(f'{__name__}.{name}').depthwise_conv


def make_layout(mask: Tensor | None, backend: str) -> Layout:
    """Return the layout for a mask (N, h, w) bool, True = removed (None: nothing is), and a backend's name."""
    if mask is None:
        return FullGrid()
    if backend == 'dense':
        return MaskedGrid(mask)
    return VisibleTokens(mask, load_backend(backend))
