"""torchvision beside a CPU-only torch, for mmdet's and mmseg's inferencers, timm and mmpretrain, which import it.

The package index has torchvision built for CUDA. Without CUDA's libraries its compiled operators do not load, and the
import fails where it refers to them: ``operator torchvision::nms does not exist``. Nothing else needs them.
"""

from types import ModuleType

from wrapt import register_post_import_hook

SIGNATURE = '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'

_libraries: list = []  # kept alive: operators vanish with their library


def declare_missing_operators() -> None:
    """Declare the operators that torchvision lacks when it is imported; calling one is then an error."""
    # The first of its own modules that it imports is the one that loads the compiled operators.
    register_post_import_hook(_declare, 'torchvision.extension')


def _declare(extension: ModuleType) -> None:
    if extension._has_ops():
        return
    import torch

    library = torch.library.Library('torchvision', 'DEF')
    for name in ('nms', 'qnms'):
        library.define(name + SIGNATURE)
    _libraries.append(library)
