"""Pictures of what FCMAE sees and what it reconstructs from it."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmcnv2.utils.unwrapping import unwrapped

from .composite import choose_bands, display_range
from .sheets import contact_sheet

GREY = 0.5


def reconstruction_sheet(
    model: nn.Module, images: Sequence[Tensor], mask: Tensor | None = None, bands: Sequence[int] | None = None
) -> np.ndarray:
    """Return a contact sheet of what ``draw_reconstructions`` returns, one row per image.

    Returns:
        (N * (H + 4) - 4, 3 * (W + 4) - 4, 3) uint8, RGB.
    """
    return contact_sheet(draw_reconstructions(model, images, mask, bands))


@torch.no_grad()
def draw_reconstructions(
    model: nn.Module, images: Sequence[Tensor], mask: Tensor | None = None, bands: Sequence[int] | None = None
) -> np.ndarray:
    """Return input, masked input and reconstruction of images (removed patches predicted, visible ones as they are).

    Args:
        model: An FCMAE whose data preprocessor normalises images by ``mean`` and ``std`` or not at all, or MMEngine's
            wrapper of one for several processes.
        images: N images (C, H, W), uint8 or float, of one size. What is black and white is the same for all, see
            ``display_range``.
        mask: (N, H/32, W/32) bool, True = removed; drawn at random by default.
        bands: Which of the C are drawn, see ``choose_bands``.

    Returns:
        (N, 3, H, W, 3) uint8, RGB.
    """
    fcmae: Any = unwrapped(model)
    training = model.training
    model.eval()
    try:
        preprocessor = fcmae.data_preprocessor
        inputs = preprocessor(dict(inputs=list(images)), False)['inputs']
        mask = fcmae.random_mask(inputs) if mask is None else mask
        # Not model(...), since MMEngine's wrapper for DeepSpeed cannot be called.
        reconstruction = cast(Any, model)._run_forward(dict(inputs=inputs, mask=mask), mode='predict')
    finally:
        model.train(training)

    chosen = list(choose_bands(inputs.shape[1], bands))
    stored = np.stack([image[chosen].permute(1, 2, 0).cpu().numpy() for image in images])
    low, high = (torch.from_numpy(one).float().view(3, 1, 1).to(inputs.device) for one in display_range(stored))

    def to_pixels(x: Tensor) -> Tensor:
        if preprocessor._enable_normalize:
            x = x * preprocessor.std + preprocessor.mean
        return ((x[:, chosen] - low) / (high - low)).clamp(0, 1)

    removed = F.interpolate(mask[:, None].float(), size=inputs.shape[2:]).bool().to(inputs.device)
    columns = [to_pixels(inputs), to_pixels(inputs).masked_fill(removed, GREY), to_pixels(reconstruction)]
    return (torch.stack(columns, dim=1) * 255).round().byte().permute(0, 1, 3, 4, 2).cpu().numpy()
