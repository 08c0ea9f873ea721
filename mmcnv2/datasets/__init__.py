from .bands import BandFile, BandReader
from .images import ImageFile, UnreadableImageError, UnsupportedImageError
from .samplers import ChunkedSampler
from .transforms import (
    LoadCheckedImage,
    LoadImage,
    LoadLabelMap,
    LoadRandomResizedCrop,
    LoadRGBImage,
    PackUnlabelled,
)
from .unlabelled_images import UnlabelledImages
from .unlabelled_shards import UnlabelledShards

__all__ = [
    'BandFile',
    'BandReader',
    'ChunkedSampler',
    'ImageFile',
    'LoadCheckedImage',
    'LoadImage',
    'LoadLabelMap',
    'LoadRGBImage',
    'LoadRandomResizedCrop',
    'PackUnlabelled',
    'UnlabelledImages',
    'UnlabelledShards',
    'UnreadableImageError',
    'UnsupportedImageError',
]
