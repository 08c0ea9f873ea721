from .transforms import (
    LoadLabelMap,
    LoadNamedImage,
    LoadRandomResizedCrop,
    LoadRGBImage,
    PackUnlabelled,
    UnreadableImageError,
)
from .unlabelled_images import UnlabelledImages

__all__ = [
    'LoadLabelMap',
    'LoadNamedImage',
    'LoadRGBImage',
    'LoadRandomResizedCrop',
    'PackUnlabelled',
    'UnlabelledImages',
    'UnreadableImageError',
]
