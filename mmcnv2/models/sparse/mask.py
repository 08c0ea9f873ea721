"""Masks over the 32x32 patches of an image: (N, H/32, W/32) bool, True = removed."""

import torch
from mmengine.dist import get_rank
from torch import Tensor

from mmcnv2.utils.errors import InputError

#: Side of a patch in pixels. It is the stride of the last stage, so no token crosses a patch border at any stage.
PATCH_SIZE = 32


def random_mask(num_samples: int, grid_size: tuple[int, int], mask_ratio: float) -> Tensor:
    """Draw a uniformly random mask with the same number of visible patches in every sample.

    It is reproducible from the seed of torch's global generator. The rank is added to the seed, so processes with the
    same seed draw different masks. It is drawn on the CPU: the masks are the same on every device.

    Args:
        num_samples: N.
        grid_size: (h, w), number of patches along height and width, at least two in all.
        mask_ratio: Share of removed patches, in (0, 1). The number of visible patches is rounded down, as in MAE
            (49 patches at 0.6: 19), but is at least 1.

    Returns:
        (N, h, w) bool, True = removed.

    Raises:
        ValueError: If ``mask_ratio`` is outside (0, 1) or there are fewer than two patches.
    """
    check_mask_ratio(mask_ratio)
    num_patches = grid_size[0] * grid_size[1]
    if num_patches < 2:
        raise InputError(
            f'masking needs images of at least two {PATCH_SIZE}x{PATCH_SIZE} patches, '
            f'got a grid of {grid_size[0]}x{grid_size[1]}'
        )
    # The small term undoes binary rounding: 10 * (1 - 0.9) is 0.9999999999999998.
    num_visible = min(max(int(num_patches * (1 - mask_ratio) + 1e-6), 1), num_patches - 1)
    seed = int(torch.randint(2**62, ())) + get_rank()
    noise = torch.rand(num_samples, num_patches, generator=torch.Generator().manual_seed(seed))
    visible = noise.argsort(dim=1)[:, :num_visible]
    mask = torch.ones(num_samples, num_patches, dtype=torch.bool).scatter_(1, visible, False)
    return mask.view(num_samples, *grid_size)


def check_mask_ratio(mask_ratio: float) -> None:
    """Raise ValueError unless ``mask_ratio`` lies in the open interval (0, 1)."""
    if not 0 < mask_ratio < 1:
        raise InputError(f'mask_ratio must lie between 0 and 1, both excluded, got {mask_ratio}; the paper uses 0.6')


def check_mask(mask: Tensor, images: Tensor) -> None:
    """Check that ``mask`` fits ``images`` (N, C, H, W).

    Raises:
        ValueError: If the shape is not (N, H/32, W/32), the dtype is not bool, the samples have different numbers of
            visible patches, or none.
    """
    expected = (images.shape[0], images.shape[2] // PATCH_SIZE, images.shape[3] // PATCH_SIZE)
    if tuple(mask.shape) != expected:
        raise InputError(
            f'mask must have shape (N, H/{PATCH_SIZE}, W/{PATCH_SIZE}) = {expected} for images of shape '
            f'{tuple(images.shape)}, got {tuple(mask.shape)}'
        )
    if mask.dtype != torch.bool:
        raise InputError(f'mask must be of dtype torch.bool (True = removed), got {mask.dtype}')
    num_visible = (~mask).flatten(1).sum(dim=1).tolist()
    if len(set(num_visible)) != 1:
        raise InputError(
            'every sample of a mask must have the same number of visible patches, '
            f'got {num_visible} for the {len(num_visible)} samples'
        )
    if num_visible[0] == 0:
        raise InputError('mask removes every patch; at least one must stay visible')


def patch_indices(selected: Tensor) -> Tensor:
    """Return the indices of the selected patches of each sample, ascending in row-major order.

    Args:
        selected: (N, h, w) bool with the same number K of true values in every sample.

    Returns:
        (N, K) int64, values in [0, h * w).
    """
    return selected.flatten(1).nonzero()[:, 1].view(selected.shape[0], -1)
