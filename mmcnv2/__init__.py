"""ConvNeXt V2 backbones and FCMAE pre-training as OpenMMLab components.

Importing the package makes ``type='mmcnv2.Name'`` and ``_base_ = 'mmcnv2::folder/NAME.py'`` known to every OpenMMLab
config and lets torchvision be imported beside a CPU-only torch. It imports neither torch nor mmcv. It raises
``ImportError`` if an OpenMMLab package is missing or has the wrong version.
"""

from .utils.dependencies import check_dependencies
from .version import __version__

check_dependencies()

from . import recipes, registry  # noqa: E402  (imports mmengine, which the check may find missing)
from .utils.torchvision import declare_missing_operators  # noqa: E402

recipes.register_recipes()
declare_missing_operators()

__all__ = ['__version__', 'registry']
