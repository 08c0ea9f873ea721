from .formatting import PackUnlabelled
from .loading import LoadRGBImage, UnreadableImageError
from .random_resized_crop import LoadRandomResizedCrop

__all__ = ['LoadRGBImage', 'LoadRandomResizedCrop', 'PackUnlabelled', 'UnreadableImageError']
