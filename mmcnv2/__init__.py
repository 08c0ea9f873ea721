"""ConvNeXt V2 backbones and FCMAE pre-training as OpenMMLab components.

Importing the package makes ``type='mmcnv2.Name'`` and ``_base_ = 'mmcnv2::folder/NAME.py'`` known to every OpenMMLab
config, lets torchvision be imported beside a CPU-only torch, lets the libraries' inference take an array, then a path,
and lets mmdet do without panopticapi, which is on no package index. It imports neither torch nor mmcv. It raises
``ImportError`` if an OpenMMLab package is missing or has the wrong version; mmdet and mmseg may be missing until a
config is read.
"""

from .utils.dependencies import check_dependencies
from .version import __version__

check_dependencies(without_models=True)

from . import recipes, registry  # noqa: E402  (imports mmengine, which the check may find missing)
from .utils.inference_pipelines import keep_test_pipelines  # noqa: E402
from .utils.panopticapi import provide_panopticapi  # noqa: E402
from .utils.torchvision import declare_missing_operators  # noqa: E402

recipes.register_recipes()
declare_missing_operators()
keep_test_pipelines()
provide_panopticapi()

__all__ = ['__version__', 'registry']
