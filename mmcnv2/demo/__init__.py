"""``mmcnv2 demo``: models in a browser, on this machine."""

from .models import Models
from .server import serve

__all__ = ['Models', 'serve']
