from .formatting import PackUnlabelled
from .label_map import LoadLabelMap
from .loading import LoadCheckedImage, LoadRGBImage, UnreadableImageError
from .random_resized_crop import LoadRandomResizedCrop

__all__ = [
    'LoadCheckedImage',
    'LoadLabelMap',
    'LoadRGBImage',
    'LoadRandomResizedCrop',
    'PackUnlabelled',
    'UnreadableImageError',
]
