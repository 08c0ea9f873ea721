import warnings
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from mmcnv2.models.pretraining import FCMAE
from mmcnv2.registry import HOOKS
from mmcnv2.utils.unwrapping import unwrapped

_IMAGES = 16  # looked at
_TOO_MUCH = 0.5  # with ImageNet's mean and std, photographs have 0.24 to 0.32, microscopy of nuclei 0.64


@HOOKS.register_module()
class ConstantTargetsHook(Hook):
    """A hook that warns if most of the variance of FCMAE's normalised targets is one constant a channel.

    So it is with grey images under a mean and std that differ by channel: where a patch is nearly flat, its three
    channels differ by more than its pixels do. The loss falls far while the network learns this constant only. The
    hook looks at the first batch of every run, which stays as it is; other models are not looked at.
    """

    def before_train(self, runner: Runner) -> None:
        """Look at the batch that comes."""
        self._has_looked = False

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Warn at the first iteration of a run."""
        if self._has_looked:
            return
        self._has_looked = True
        model = unwrapped(runner.model)
        if not (is_main_process() and isinstance(model, FCMAE) and model.norm_pix_loss):
            return
        preprocessor = model.data_preprocessor
        if not hasattr(preprocessor, 'mean'):
            return
        with torch.no_grad():
            images = preprocessor({'inputs': data_batch['inputs'][:_IMAGES]}, False)['inputs'].float()
            channels = images.shape[1]
            share = constant_share(model.patchify(images), channels)
            pixels = images * preprocessor.std + preprocessor.mean
        if share > _TOO_MUCH:
            mean, std = (f'[{value:.0f}]*{channels}' for value in (pixels.mean(), pixels.std()))
            warnings.warn(
                f"{share:.0%} of the variance of FCMAE's targets is one constant a channel, as grey images have it "
                'when mean and std differ by channel; the network would learn little else. Take one mean and one std '
                f'for all channels, here and in fine-tuning: data_preprocessor.mean={mean}, std={std} are those of '
                'the first images',
                stacklevel=2,
            )


def constant_share(patches: Tensor, channels: int) -> float:
    """Return the share of the variance within patches that is due to the means of their channels.

    Args:
        patches: (N, L, p*p*C), pixels in order (row, column, channel).
        channels: C.

    Returns:
        In [0, 1], the mean over all patches.
    """
    of_channels = patches.unflatten(-1, (-1, channels)).mean(dim=-2).var(dim=-1, unbiased=False)
    _, std = FCMAE.patch_statistics(patches)
    return float((of_channels / std.squeeze(-1) ** 2).mean())
