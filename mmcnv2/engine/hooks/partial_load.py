from collections.abc import Collection

from mmengine.hooks import Hook
from mmengine.runner import Runner


class PartialLoadHook(Hook):
    """Keep what fits of the checkpoint that a training starts from, before model, strategy or EMAHook load it.

    MMEngine would load it with a warning, except for a sharded model, where another shape is an error.

    Args:
        keys: Keys of the state dict to load, see ``mmcnv2.preflight.check_load_from``.
    """

    priority = 'HIGHEST'

    def __init__(self, keys: Collection[str]) -> None:
        self.keys = keys

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remove the other tensors, and the second copy that EMAHook wrote: the averages begin anew.

        ``state_dict`` has the averaged weights. A copy with some tensors missing could not be taken up.
        """
        checkpoint.pop('ema_state_dict', None)
        for key in set(checkpoint['state_dict']) - set(self.keys):
            del checkpoint['state_dict'][key]
