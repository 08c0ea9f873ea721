"""FCMAE whose masks follow from the images, so that any division of a batch between processes has the same ones."""

import zlib

import torch

from mmcnv2.models import FCMAE
from mmcnv2.registry import MODELS


@MODELS.register_module()
class FCMAEWithMasksOfImages(FCMAE):
    def random_mask(self, images):
        """An image's mask depends on its pixels alone: not on the rank, nor on its place in the batch or the run."""
        grid_size = [side // self.patch_size for side in images.shape[-2:]]
        num_patches = grid_size[0] * grid_size[1]
        seeds = [zlib.crc32(image.cpu().numpy().tobytes()) for image in images]
        orders = [torch.randperm(num_patches, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        num_visible = int(num_patches * (1 - self.mask_ratio))
        return (torch.stack(orders) >= num_visible).view(-1, *grid_size)
