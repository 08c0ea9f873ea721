from .formatting import PackUnlabelled
from .loading import LoadRGBImage, UnreadableImageError
from .random_resized_crop import RandomResizedCrop

__all__ = ['LoadRGBImage', 'PackUnlabelled', 'RandomResizedCrop', 'UnreadableImageError']
