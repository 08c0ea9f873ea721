from .samplers import ChunkedSampler
from .seeding import SeededDataset, SeededSampler
from .transforms import (
    LoadLabelMap,
    LoadNamedImage,
    LoadRandomResizedCrop,
    LoadRGBImage,
    PackUnlabelled,
    UnreadableImageError,
)
from .unlabelled_images import UnlabelledImages
from .unlabelled_shards import UnlabelledShards

__all__ = [
    'ChunkedSampler',
    'LoadLabelMap',
    'LoadNamedImage',
    'LoadRGBImage',
    'LoadRandomResizedCrop',
    'PackUnlabelled',
    'SeededDataset',
    'SeededSampler',
    'UnlabelledImages',
    'UnlabelledShards',
    'UnreadableImageError',
]
