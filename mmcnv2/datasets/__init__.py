from .seeding import SeededDataset, SeededSampler
from .transforms import LoadRandomResizedCrop, LoadRGBImage, PackUnlabelled, UnreadableImageError
from .unlabelled_images import UnlabelledImages

__all__ = [
    'LoadRGBImage',
    'LoadRandomResizedCrop',
    'PackUnlabelled',
    'SeededDataset',
    'SeededSampler',
    'UnlabelledImages',
    'UnreadableImageError',
]
