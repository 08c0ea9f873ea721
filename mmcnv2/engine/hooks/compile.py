from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmcnv2.registry import HOOKS
from mmcnv2.utils.errors import ConfigError


@HOOKS.register_module()
class CompileHook(Hook):
    """A hook that compiles one part of the model with ``torch.compile`` when training starts.

    MMEngine's ``compile=True`` compiles the whole training step, the optimizer with it. That of a detector falls into
    more than a hundred graphs at each ``.item()`` and takes minutes before the first iteration. Keys of the state dict
    stay as they are.

    Args:
        submodule: Name of the part, as ``model.get_submodule`` takes it.
        kwargs: Arguments of ``torch.compile``, e.g. ``dynamic=True`` for images of many sizes.
    """

    def __init__(self, submodule: str = 'backbone', **kwargs: Any) -> None:
        self.submodule = submodule
        self.kwargs = kwargs

    def before_train(self, runner: Runner) -> None:
        model = getattr(runner.model, 'module', runner.model)
        try:
            part: torch.nn.Module = model.get_submodule(self.submodule)
        except AttributeError as error:
            parts = ', '.join(name for name, _ in model.named_children())
            raise ConfigError(f'CompileHook.submodule: the model has no {self.submodule!r}, but {parts}') from error
        if type(part).__module__.startswith('torch.'):
            kind = type(part).__name__
            raise ConfigError(
                f'CompileHook.submodule: torch leaves a {kind} of its own as it is; name what contains it'
            )
        part.compile(**self.kwargs)
