"""Implementations of the masked depthwise convolution on packed visible tokens, one file each.

To add one, write ``<name>.py`` here with a function ``depthwise_conv`` of type ``DepthwiseConv``; its name is then a
value of ``sparse_backend`` (a leading underscore marks a helper). Optional packages are imported in that file, so that
only its users need them. (``dense`` is no file here: it keeps the full grid, see ``layout.MaskedGrid``.)
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from mmcnv2.utils.errors import InputError

if TYPE_CHECKING:
    from ..layout import VisibleTokens

BACKENDS = tuple(sorted(['dense', *(m.name for m in iter_modules(__path__) if not m.name.startswith('_'))]))


class DepthwiseConv(Protocol):
    """Depthwise convolution, stride 1, 'same' padding, that sees zeros at removed positions."""

    def __call__(self, x: Tensor, weight: Tensor, bias: Tensor | None, layout: VisibleTokens) -> Tensor:
        """``x`` (N, K*s*s, C), ``weight`` (C, 1, k, k), ``bias`` (C,) to (N, K*s*s, C)."""


def check_backend(name: str) -> None:
    """Raises ValueError unless ``name`` is a value of ``sparse_backend``."""
    if name not in BACKENDS:
        raise InputError(f'sparse_backend must be one of {", ".join(BACKENDS)}, got {name!r}')


def load_backend(name: str) -> DepthwiseConv:
    """The convolution of a backend on visible tokens."""
    check_backend(name)
    return import_module(f'{__name__}.{name}').depthwise_conv
