"""Whether a layer may be computed by a function of its weights instead of being called."""

import torch
from torch import nn


def is_plain(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Return whether a function of the layer's own parameters may stand for calling it.

    A layer is not plain if it has hooks (forward or backward), if its class is another one (LoRA of peft, quantized
    layers, ``torch.nn.utils.parametrize``), or if its ``forward`` was replaced. Hooks for all modules of the process
    (``torch.nn.modules.module.register_module_forward_hook``) are not checked.

    No layer is while a graph is recorded, see ``is_recorded``.

    Args:
        layer: The layer.
        kind: The class it was made as, e.g. ``nn.Linear``.
    """
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
    return type(layer) is kind and 'forward' not in vars(layer) and not any(hooks) and not is_recorded()


def is_recorded() -> bool:
    """Return whether calls are being recorded into a graph that runs without this package.

    ``torch.jit.trace``, ``torch.export`` and both ONNX exporters do so, ``torch.compile`` does not. Such a graph can
    hold neither gradients of our own nor decisions that depend on the image size.
    """
    return torch.jit.is_tracing() or torch.compiler.is_exporting()
