"""torchvision beside a CPU-only torch, for timm and mmpretrain, which import it.

The package index has torchvision built for CUDA. Without CUDA's libraries its compiled operators do not load, and the
import fails where it refers to them: ``operator torchvision::nms does not exist``. Nothing else needs them.
"""

import importlib
import importlib.util
import sys

import torch

SIGNATURE = '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'

_declared: list[torch.library.Library] = []  # held: operators go with their library


def make_torchvision_importable() -> None:
    """Imports torchvision if it is installed, declaring the operators that it lacks (calling them is an error)."""
    if importlib.util.find_spec('torchvision') is None:
        return
    try:
        importlib.import_module('torchvision')
    except RuntimeError as error:
        if 'torchvision::nms' not in str(error):
            raise
        for name in [name for name in sys.modules if name.split('.')[0] == 'torchvision']:
            del sys.modules[name]
        library = torch.library.Library('torchvision', 'DEF')
        for name in ('nms', 'qnms'):
            library.define(name + SIGNATURE)
        _declared.append(library)
        importlib.import_module('torchvision')
