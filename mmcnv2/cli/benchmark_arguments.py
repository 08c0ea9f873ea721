"""The arguments that benchmarks have in common, and their checks."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mmcnv2.utils.errors import InputError

if TYPE_CHECKING:
    from mmcnv2.benchmarks.pretrain import Workload


def add_measuring_arguments(parser: argparse.ArgumentParser, several_dtypes: bool = False) -> None:
    """Add device, dtype (one, or a list), number of steps and the JSON file."""
    from .arguments import add_device

    add_device(parser)
    many: dict = dict(nargs='+', default=['fp32']) if several_dtypes else dict(default='fp32')
    which = 'one or more of ' if several_dtypes else ''
    parser.add_argument(
        '--dtype', **many, help=f'{which}fp32, bf16, fp16, the last two under autocast (default: fp32)'
    )
    add_step_arguments(parser)


def add_step_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the number of steps and the JSON file."""
    parser.add_argument('--repeats', type=int, default=7, help='timed steps of each implementation (default: 7)')
    parser.add_argument('--warmup', type=int, default=2, help='untimed steps before them (default: 2)')
    parser.add_argument('--json', metavar='FILE', help='write rows and environment to this file, after every row')


def check_measuring_arguments(args: argparse.Namespace) -> None:
    """Check what ``add_measuring_arguments`` has added, and replace the device 'auto' by the one to use.

    Raises:
        InputError: Names the argument and its value.
    """
    from mmcnv2.benchmarks.measure import DTYPES, warn_of_slow_types
    from mmcnv2.utils.device import choose_device

    from .arguments import check_choices

    check_choices(args, 'dtype', DTYPES)
    check_step_arguments(args)
    args.device = choose_device(args.device)
    warn_of_slow_types(args.device, _dtypes(args))


def check_step_arguments(args: argparse.Namespace) -> None:
    """Check what ``add_step_arguments`` has added.

    Raises:
        InputError: Names the argument and its value.
    """
    from .arguments import check_positive

    check_positive(args, 'repeats')
    if args.warmup < 0:
        raise InputError(f'--warmup must be at least 0, got {args.warmup}')


def _dtypes(args: argparse.Namespace) -> list[str]:
    return [args.dtype] if isinstance(args.dtype, str) else args.dtype


def add_pretraining_arguments(parser: argparse.ArgumentParser, several_dtypes: bool = False) -> None:
    """Add what defines pre-training steps to measure."""
    parser.add_argument('--archs', nargs='+', default=['atto', 'tiny'], help='atto to huge (default: atto tiny)')
    parser.add_argument(
        '--batch-sizes',
        nargs='+',
        type=int,
        default=[16, 4],
        help='one for each arch, or one for all (default: 16 4)',
    )
    parser.add_argument(
        '--backends',
        nargs='+',
        default=['dense', 'auto'],
        help='values of sparse_backend (default: dense auto)',
    )
    parser.add_argument(
        '--part',
        choices=['encoder', 'whole'],
        default='whole',
        help='what a step computes (default: whole: encoder, decoder and loss)',
    )
    parser.add_argument('--image-size', type=int, default=224, help='side in pixels (default: 224)')
    parser.add_argument('--mask-ratio', type=float, default=0.6, help='share of removed patches (default: 0.6)')
    add_measuring_arguments(parser, several_dtypes)


def read_pretraining_arguments(
    args: argparse.Namespace, peers: tuple[str, ...] = ()
) -> tuple[list[tuple[str, int]], list[Workload]]:
    """Check what ``add_pretraining_arguments`` has added.

    Args:
        args: The arguments.
        peers: Values of ``--backends`` besides those of ``sparse_backend``.

    Returns:
        Arch and batch size of each size to measure, and what a step computes, for each type.

    Raises:
        InputError: Names the argument and its value.
    """
    from mmcnv2.benchmarks.pretrain import Workload
    from mmcnv2.models.backbones import ARCHITECTURES
    from mmcnv2.models.sparse import PATCH_SIZE, random_mask
    from mmcnv2.models.sparse.backends import BACKENDS

    from .arguments import check_choices, check_positive

    check_choices(args, 'archs', ARCHITECTURES)
    check_choices(args, 'backends', (*BACKENDS, *peers))
    check_positive(args, 'batch_sizes')
    batch_sizes = args.batch_sizes * len(args.archs) if len(args.batch_sizes) == 1 else args.batch_sizes
    if len(batch_sizes) != len(args.archs):
        raise InputError(f'--batch-sizes takes one number, or one for each of {args.archs}, got {args.batch_sizes}')
    check_image_sizes(args, 'image_size')
    random_mask(1, (args.image_size // PATCH_SIZE,) * 2, args.mask_ratio)  # raises what is wrong with the ratio
    check_measuring_arguments(args)
    workloads = [Workload(args.part, args.image_size, args.mask_ratio, args.device, dtype) for dtype in _dtypes(args)]
    return list(zip(args.archs, batch_sizes, strict=True)), workloads


def check_image_sizes(args: argparse.Namespace, name: str) -> None:
    """Check that an argument, or each of a list, can be the side of an image in pixels.

    Raises:
        InputError: Names the argument and its value.
    """
    from mmcnv2.models.sparse import PATCH_SIZE

    value = getattr(args, name)
    for size in value if isinstance(value, list) else [value]:
        if size < 1 or size % PATCH_SIZE:
            option = f'--{name.replace("_", "-")}'
            raise InputError(f'{option} must be positive and divisible by {PATCH_SIZE}, got {size}')
