"""Time the depthwise kernels at every stage of a pre-training step, as a share of the bandwidth of a copy.

Forward and backward read and write each token a fixed number of times, whatever the kernels do: forward and the
gradient of the input read one tensor and write one, the weight gradient reads two. These bytes over the time are the
bandwidth that a kernel reaches; a device copy of as many bytes says what could be reached. Goal: 70 %.
"""

import argparse
import itertools
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmcnv2.benchmarks.measure import DTYPES, Table, environment, seconds_per_step
from mmcnv2.models.backbones.convnextv2 import ARCHITECTURES
from mmcnv2.models.sparse import make_layout, random_mask
from mmcnv2.models.sparse.layout import VisibleTokens

GOAL = 0.7
COLUMNS = ['stage', 'tokens', 'channels', 'pass', 'block', 'ms', 'GB/s', 'of copy', 'reached']
BLOCKS = {  # rows of patches and channels of a program; chunks at most
    'CONV_BLOCK': [*itertools.product((8, 16, 32, 64), (32, 64, 128))],
    'WEIGHT_GRADIENT_BLOCK': [*itertools.product((8, 16, 32), (32, 64, 128), (128, 256, 512))],
}


def copy_bandwidth(num_bytes: int, device: str, repeats: int) -> float:
    """Return bytes read and written a second by a copy of a tensor of so many bytes."""
    source = torch.empty(num_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * num_bytes / seconds_per_step({'copy': lambda: target.copy_(source)}, repeats, 2, device)['copy']


def triton_passes(x: Tensor, grad: Tensor, weight: Tensor, bias: Tensor, layout: VisibleTokens, side: int) -> dict:
    """Return the launch of each kernel, as the backend's autograd functions make it."""
    from mmcnv2.models.sparse.backends import triton

    ring = -(-(weight.shape[-1] // 2) // side)
    tables = tuple(table.to(x.device) for table in triton.neighbours(layout, ring))
    taps = weight.flatten(1).t().contiguous()
    return {
        'forward': lambda: triton._launch_conv(x, taps, bias, *tables, side),
        'input gradient': lambda: triton._launch_conv(grad, taps.flip(0), None, *tables, side),
        'weight gradient': lambda: triton._launch_weight_gradient(grad, x, taps, *tables, side),
    }


def torch_passes(x: Tensor, grad: Tensor, weight: Tensor, bias: Tensor, layout: VisibleTokens, side: int) -> dict:
    """Return the same of the backend `torch`, the path of a CPU; a gradient's time has the forward pass in it."""
    from mmcnv2.models.sparse.backends.torch import depthwise_conv

    x, weight = x.requires_grad_(), weight.requires_grad_()

    def gradient(leaf: Tensor) -> Tensor:
        return torch.autograd.grad(depthwise_conv(x, weight, bias, layout), leaf, grad)[0]

    return {
        'forward': lambda: depthwise_conv(x, weight, bias, layout),
        'input gradient': lambda: gradient(x),
        'weight gradient': lambda: gradient(weight),
    }


def make_stage(arch: str, stage: int, args: Any) -> tuple[Tensor, dict[str, Callable[[], Any]]]:
    """Return the tokens of a stage (N, K*s*s, C), and the passes on them."""
    side, channels = 8 >> stage, ARCHITECTURES[arch]['channels'][stage]
    mask = random_mask(args.batch_size, (args.image_size // 32,) * 2, args.mask_ratio)
    layout: Any = make_layout(mask, 'torch')
    tokens = layout.patches.shape[1] * side**2
    x, grad = (
        torch.randn(args.batch_size, tokens, channels, device=args.device, dtype=DTYPES[args.dtype]) for _ in range(2)
    )
    weight = torch.randn(channels, 1, 7, 7, device=args.device, dtype=x.dtype)
    passes = torch_passes if args.device == 'cpu' else triton_passes
    return x, passes(x, grad, weight, weight.new_zeros(channels), layout, side)


def which_block(name: str) -> str:
    """Return the name of the block sizes that a pass uses."""
    return 'WEIGHT_GRADIENT_BLOCK' if name == 'weight gradient' else 'CONV_BLOCK'


def timed(call: Callable[[], Any], name: str, block: tuple[int, ...] | None, args: Any) -> float:
    """Return the seconds of a pass with a block size."""
    if block is None:
        return seconds_per_step({'pass': call}, args.repeats, 2, args.device)['pass']
    from mmcnv2.models.sparse.backends import triton

    which = which_block(name)
    before = getattr(triton, which)
    setattr(triton, which, block)
    try:
        return seconds_per_step({'pass': call}, args.repeats, 2, args.device)['pass']
    finally:
        setattr(triton, which, before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--arch', default='base', choices=[*ARCHITECTURES])
    parser.add_argument('--batch-size', type=int, default=128)
    parser.add_argument('--image-size', type=int, default=224)
    parser.add_argument('--mask-ratio', type=float, default=0.6)
    parser.add_argument('--dtype', default='bf16', choices=[*DTYPES])
    parser.add_argument('--repeats', type=int, default=20)
    parser.add_argument('--sweep', action='store_true', help='also other block sizes (on a GPU)')
    parser.add_argument('--json', metavar='FILE')
    args = parser.parse_args()
    about = dict(environment(args.device), dtype=args.dtype, batch=args.batch_size, goal=GOAL)
    table = Table(COLUMNS, args.json, **about)
    for do_sweep in (False, True) if args.sweep and args.device != 'cpu' else (False,):
        for stage in range(4):
            x, passes = make_stage(args.arch, stage, args)
            copy = copy_bandwidth(x.numel() * x.element_size(), args.device, args.repeats)
            for name, call in passes.items():
                for block in BLOCKS[which_block(name)] if do_sweep else [None]:
                    row = dict(stage=stage, tokens=x.shape[0] * x.shape[1], channels=x.shape[2])
                    row |= {'pass': name, 'block': str(block or 'as it is')}
                    try:
                        seconds = timed(call, name, block, args)
                    except Exception as error:  # a block that needs more than the GPU has
                        problem = f'{type(error).__name__}: {error}'.splitlines()[0]
                        table.add(**row, **dict.fromkeys(COLUMNS[5:], '-') | {'reached': problem})
                        if block is None:
                            sys.exit(problem)
                        continue
                    bandwidth = 2 * x.numel() * x.element_size() / seconds
                    share = bandwidth / copy
                    figures = {
                        'ms': 1e3 * seconds,
                        'GB/s': bandwidth / 1e9,
                        'of copy': share,
                        'reached': share >= GOAL,
                    }
                    table.add(**row, **figures)


if __name__ == '__main__':
    main()
