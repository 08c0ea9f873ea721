from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmcnv2.models import FCMAE
from mmcnv2.registry import HOOKS
from mmcnv2.utils.errors import ConfigError
from mmcnv2.utils.unwrapping import unwrapped


@HOOKS.register_module()
class CompileHook(Hook):
    """A hook that compiles one part of the model with ``torch.compile`` when training starts.

    ``compile=`` in a config is this hook. MMEngine's own compiles the whole training step, the optimizer with it. That
    of a detector falls into more than a hundred graphs at each ``.item()`` and takes minutes before the first
    iteration. Keys of the state dict stay as they are.

    Args:
        submodule: Name of the part, as ``model.get_submodule`` takes it. None: all of FCMAE, the backbone of another
            model.
        kwargs: Arguments of ``torch.compile``, e.g. ``dynamic=True`` for images of many sizes.
    """

    def __init__(self, submodule: str | None = None, **kwargs: Any) -> None:
        self.submodule = submodule
        self.kwargs = kwargs

    def before_train(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        if isinstance(model, FCMAE) and self.submodule is None:
            # Its images have one size. Stages differ in theirs, for which torch would compile a graph of any size, and
            # inductor fails on that (torch 2.13, CPU).
            model.compile(**{'dynamic': False, **self.kwargs})
            return
        name = self.submodule or 'backbone'
        try:
            part: torch.nn.Module = model.get_submodule(name)
        except AttributeError as error:
            parts = ', '.join(name for name, _ in model.named_children())
            raise ConfigError(f'CompileHook.submodule: the model has no {name!r}, but {parts}') from error
        if type(part).__module__.startswith('torch.'):
            kind = type(part).__name__
            raise ConfigError(
                f'CompileHook.submodule: torch leaves a {kind} of its own as it is; name what contains it'
            )
        part.compile(**self.kwargs)
