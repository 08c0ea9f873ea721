"""The fastest backend that works on the device of the tokens: Triton's kernels on a GPU, plain torch elsewhere."""

import functools
import logging

import torch
from mmengine.logging import print_log
from torch import Tensor

from ..layout import DepthwiseConv, VisibleTokens
from . import load_backend

# By device type, fastest first; devices not named here use plain torch.
CANDIDATES = dict(cuda=('triton',))


def depthwise_conv(x: Tensor, weight: Tensor, bias: Tensor | None, layout: VisibleTokens) -> Tensor:
    """See ``DepthwiseConv`` in this package."""
    conv = layout.table(('auto', x.device), lambda: choose(x.device))  # in a table, torch.compile takes it as it is
    return conv(x, weight, bias, layout)


@functools.cache
def choose(device: torch.device) -> DepthwiseConv:
    """Return the convolution for a device. The choice is logged once, as is why a faster one was passed over."""
    for name in CANDIDATES.get(device.type, ()):
        problem = check(name, device)
        if problem is None:
            break
        message = f"sparse_backend='auto': {name} does not work on {device}, using torch, which is slower: {problem}"
        print_log(message, 'current', logging.WARNING)
    else:
        name = 'torch'
    print_log(f"sparse_backend='auto': {name} on {device}", 'current')
    return load_backend(name)


def check(name: str, device: torch.device) -> str | None:
    """Return what is wrong with a backend on a device, judged by plain torch on an example; None if nothing is."""
    results = []
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
            for backend in (name, 'torch'):
                conv = load_backend(backend)
                generator = torch.Generator().manual_seed(0)
                x, weight, bias, grad = (
                    torch.randn(shape, generator=generator).to(device).requires_grad_()
                    for shape in ((2, 8, 24), (24, 1, 7, 7), (24,), (2, 8, 24))
                )
                mask = torch.tensor([[True, False, False], [False, True, False]]).unsqueeze(1)
                out = conv(x, weight, bias, VisibleTokens(mask, conv))
                results.append((out, *torch.autograd.grad(out, (x, weight, bias), grad)))
            names = 'output', 'gradient of x', 'gradient of the weight', 'gradient of the bias'
            for what, actual, expected in zip(names, *results, strict=True):
                if not (actual - expected).norm() <= 1e-2 * expected.norm():  # TF32 may be on; NaN is wrong
                    return f'the {what} is wrong'
    except Exception as error:  # whatever the error, training continues
        return f'{type(error).__name__}: {error}'
    return None
