from .formatting import PackUnlabelled
from .label_map import LoadLabelMap
from .loading import LoadCheckedImage, LoadImage, LoadRGBImage
from .random_resized_crop import LoadRandomResizedCrop

__all__ = [
    'LoadCheckedImage',
    'LoadImage',
    'LoadLabelMap',
    'LoadRGBImage',
    'LoadRandomResizedCrop',
    'PackUnlabelled',
]
