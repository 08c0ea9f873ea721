from .transforms import LoadRGBImage, PackUnlabelled, RandomResizedCrop, UnreadableImageError
from .unlabelled_images import UnlabelledImages

__all__ = [
    'LoadRGBImage',
    'PackUnlabelled',
    'RandomResizedCrop',
    'UnlabelledImages',
    'UnreadableImageError',
]
