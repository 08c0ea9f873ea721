from .formatting import PackUnlabelled
from .label_map import LoadLabelMap
from .loading import LoadNamedImage, LoadRGBImage, UnreadableImageError
from .random_resized_crop import LoadRandomResizedCrop

__all__ = [
    'LoadLabelMap',
    'LoadNamedImage',
    'LoadRGBImage',
    'LoadRandomResizedCrop',
    'PackUnlabelled',
    'UnreadableImageError',
]
