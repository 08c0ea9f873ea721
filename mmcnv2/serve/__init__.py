"""``mmcnv2 serve``: a model behind HTTP. Images are posted, COCO JSON or PNG comes back."""

from .server import serve
from .settings import Settings

__all__ = ['Settings', 'serve']
