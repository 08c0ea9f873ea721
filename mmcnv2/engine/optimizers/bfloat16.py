import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.utils import apply_to
from torch import nn

from mmcnv2.models import FCMAE
from mmcnv2.registry import OPTIM_WRAPPERS
from mmcnv2.utils.errors import ConfigError
from mmcnv2.utils.processor import describe_processor, multiplies_bfloat16
from mmcnv2.utils.unwrapping import unwrapped

# Parts whose forward() is layers alone: losses, boxes and samples come after it, and stay in float32.
_PARTS = ('backbone', 'neck', 'rpn_head', 'bbox_head', 'mask_head', 'decode_head', 'auxiliary_head')


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Mixed precision on a CPU: a training step computes in bfloat16 by autocast, and weights stay in float32.

    FCMAE computes in bfloat16 as a whole. Of other models the backbone, the neck and the layers of the heads do
    (``rpn_head``, ``bbox_head``, ``mask_head``, ``decode_head``, ``auxiliary_head``, those of ``roi_head`` too), and
    return float32, in which boxes, samples and losses are computed. A part that contains an operator of mmcv, such as
    deformable attention, stays in float32, as RoIAlign does: mmcv's operators for the CPU do not know bfloat16.
    bfloat16 has the range of float32, so no loss is scaled, and the optimizer's state is that of ``OptimWrapper``.

    It works on any CPU. One that does not multiply in bfloat16 takes longer than in float32, which the log says.

    Args:
        *args: See MMEngine's ``OptimWrapper``.
        **kwargs: See MMEngine's ``OptimWrapper``.

    Raises:
        ValueError: If there is a GPU or, in a training step, the model has no part that computes in bfloat16.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if torch.cuda.is_available():
            raise ConfigError(
                'BFloat16OptimWrapper is for training without a GPU: set optim_wrapper.type=AmpOptimWrapper and '
                'optim_wrapper.dtype=bfloat16'
            )
        super().__init__(*args, **kwargs)
        message = f'mixed precision: bfloat16 on {describe_processor()}'
        if multiplies_bfloat16():
            print_log(message, logger='current')
        else:
            message += '; it converts to float32 and back, and optim_wrapper.type=OptimWrapper is faster'
            print_log(message, logger='current', level=logging.WARNING)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """See MMEngine; until the context ends, the model or its parts compute in bfloat16."""
        with super().optim_context(model), ExitStack() as stack:
            network = unwrapped(model)
            if isinstance(network, FCMAE):
                stack.enter_context(torch.autocast('cpu', torch.bfloat16))
            else:
                for part in _parts(network):
                    stack.enter_context(_in_bfloat16(part))
            yield


def _parts(model: nn.Module) -> list[nn.Module]:
    found: list[Any] = []
    for owner in (model, getattr(model, 'roi_head', None)):
        for part in (getattr(owner, name, None) for name in _PARTS):
            found.extend(part if isinstance(part, nn.ModuleList) else [part])
    parts = [part for part in found if isinstance(part, nn.Module) and not _has_operators_of_mmcv(part)]
    if not parts:
        raise ConfigError(
            f'BFloat16OptimWrapper computes the parts of a model ({", ".join(_PARTS)}) in bfloat16, and '
            f'{type(model).__name__} has none without operators of mmcv: set optim_wrapper.type=OptimWrapper, which '
            'trains it in float32'
        )
    return parts


def _has_operators_of_mmcv(part: nn.Module) -> bool:
    classes = (class_ for module in part.modules() for class_ in type(module).__mro__)
    return any(class_.__module__.startswith('mmcv.ops') for class_ in classes)


@contextmanager
def _in_bfloat16(part: nn.Module) -> Iterator[None]:
    """Let a module compute in bfloat16, and return float32, however it is called: ``part(x)`` or ``part.forward(x)``.

    Hooks would not see the second.
    """
    own = vars(part).get('forward')
    part.forward = partial(_forward, part.forward)
    try:
        yield
    finally:
        del part.forward
        if own is not None:
            part.forward = own


def _forward(forward: Callable, *args: Any, **kwargs: Any) -> Any:
    with torch.autocast('cpu', torch.bfloat16):
        outputs = forward(*args, **kwargs)
    return apply_to(outputs, _is_bfloat16, torch.Tensor.float)


def _is_bfloat16(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16
