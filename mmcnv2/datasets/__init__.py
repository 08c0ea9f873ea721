from .samplers import ChunkedSampler
from .transforms import (
    LoadCheckedImage,
    LoadLabelMap,
    LoadRandomResizedCrop,
    LoadRGBImage,
    PackUnlabelled,
    UnreadableImageError,
)
from .unlabelled_images import UnlabelledImages
from .unlabelled_shards import UnlabelledShards

__all__ = [
    'ChunkedSampler',
    'LoadCheckedImage',
    'LoadLabelMap',
    'LoadRGBImage',
    'LoadRandomResizedCrop',
    'PackUnlabelled',
    'UnlabelledImages',
    'UnlabelledShards',
    'UnreadableImageError',
]
