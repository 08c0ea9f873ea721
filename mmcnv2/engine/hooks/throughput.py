import resource
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmcnv2.registry import HOOKS


@HOOKS.register_module()
class ThroughputHook(Hook):
    """A hook that logs ``images_per_s`` of all processes and, without a GPU, the peak ``memory`` of this one in MB.

    (With a GPU, MMEngine logs its memory. The time of an iteration is that of MMEngine's IterTimerHook.)
    """

    # After IterTimerHook (NORMAL) has measured the iteration, before LoggerHook (BELOW_NORMAL) reads the scalars.
    priority = 'NORMAL'

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        hub = runner.message_hub
        images = len(data_batch['inputs']) * get_world_size()
        hub.update_scalar('train/images_per_s', images / hub.get_scalar('train/time').current())
        if not torch.cuda.is_available():
            hub.update_scalar('train/memory', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
