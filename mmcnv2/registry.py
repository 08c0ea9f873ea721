"""Registries of scope ``mmcnv2``: children of MMEngine's, so that ``type='mmcnv2.Name'`` works in any config.

A component is found when its registry is asked for it; ``locations`` names the packages that are imported then.
"""

from importlib import import_module
from typing import Any

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import STRATEGIES as MMENGINE_STRATEGIES
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISBACKENDS as MMENGINE_VISBACKENDS
from mmengine.registry import WEIGHT_INITIALIZERS as MMENGINE_WEIGHT_INITIALIZERS
from mmengine.registry import Registry

# Models that inherit from another library, which takes seconds to import: the modules that have them.
_WITH_LIBRARY = {
    'SegDataPreProcessor': 'mmcnv2.models.data_preprocessors.segmentation',
    'DetDataPreprocessor': 'mmcnv2.models.data_preprocessors.detection',
}


class _Models(Registry):
    """A registry that imports what needs mmdet or mmseg when it is asked for."""

    def get(self, key: str) -> Any:
        if key.rpartition('.')[2] in _WITH_LIBRARY and key.rpartition('.')[0] in ('', 'mmcnv2'):
            import_module(_WITH_LIBRARY[key.rpartition('.')[2]])
        return super().get(key)


MODELS = _Models('model', parent=MMENGINE_MODELS, scope='mmcnv2', locations=['mmcnv2.models'])
DATASETS = Registry(
    'dataset', parent=MMENGINE_DATASETS, scope='mmcnv2', locations=['mmcnv2.datasets', 'mmcnv2.resuming']
)
DATA_SAMPLERS = Registry(
    'data sampler',
    parent=MMENGINE_DATA_SAMPLERS,
    scope='mmcnv2',
    locations=['mmcnv2.datasets', 'mmcnv2.resuming'],
)
TRANSFORMS = Registry('transform', parent=MMENGINE_TRANSFORMS, scope='mmcnv2', locations=['mmcnv2.datasets'])
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='mmcnv2', locations=['mmcnv2.engine'])
LOOPS = Registry('loop', parent=MMENGINE_LOOPS, scope='mmcnv2', locations=['mmcnv2.resuming'])
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='mmcnv2',
    locations=['mmcnv2.engine'],
)
OPTIM_WRAPPERS = Registry(
    'optimizer wrapper', parent=MMENGINE_OPTIM_WRAPPERS, scope='mmcnv2', locations=['mmcnv2.engine']
)
STRATEGIES = Registry('strategy', parent=MMENGINE_STRATEGIES, scope='mmcnv2', locations=['mmcnv2.engine'])
METRICS = Registry('metric', parent=MMENGINE_METRICS, scope='mmcnv2', locations=['mmcnv2.evaluation'])
WEIGHT_INITIALIZERS = Registry(
    'weight initializer', parent=MMENGINE_WEIGHT_INITIALIZERS, scope='mmcnv2', locations=['mmcnv2.models']
)
VISBACKENDS = Registry(
    'visualization backend', parent=MMENGINE_VISBACKENDS, scope='mmcnv2', locations=['mmcnv2.engine']
)
