"""ConvNeXt V2 backbones and FCMAE pre-training as OpenMMLab components.

Importing the package makes ``type='mmcnv2.Name'`` known to every OpenMMLab config, and raises ``ImportError`` where
an OpenMMLab package is missing or does not fit.
"""

from .utils.dependencies import check_dependencies
from .version import __version__

check_dependencies()

from . import registry  # noqa: E402  (imports mmengine, which the check may find missing)

__all__ = ['__version__', 'registry']
