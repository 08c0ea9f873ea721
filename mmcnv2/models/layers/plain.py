"""Whether a layer may be computed by a function of its weights instead of being called."""

from torch import nn


def is_plain(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Return whether calling a layer does nothing but ``kind.forward`` on its own parameters.

    A layer is not plain if it has hooks (forward or backward), if its class is another one (LoRA of peft, quantized
    layers, ``torch.nn.utils.parametrize``), or if its ``forward`` was replaced. Hooks for all modules of the process
    (``torch.nn.modules.module.register_module_forward_hook``) are not checked.

    Args:
        layer: The layer.
        kind: The class it was made as, e.g. ``nn.Linear``.
    """
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    return type(layer) is kind and 'forward' not in vars(layer) and not any(hooks)
