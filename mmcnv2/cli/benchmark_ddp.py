"""Time a pre-training step of two processes beside one, and compare with what scaling-model makes of its parts.

Two processes on this machine, joined by gloo, one thread each, fp32, take turns, step by step:

    alone       one process steps, the other waits
    both        both step, without exchanging gradients
    all-reduce  both exchange gradients, in DDP's buckets, and do nothing else
    DDP         both step with DistributedDataParallel

``efficiency`` is alone / DDP. ``predicted`` is the length of a DDP step by the model, from the measured parts: alone
or both, and the part of the all-reduce that does not overlap with two thirds of that (docs/measurements/scaling.md).
"""

import argparse

EXAMPLES = ('--batch-sizes 1 4 16', '--arch tiny --batch-sizes 4 --repeats 21 --json ddp.json')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--arch', default='atto', help='atto to huge (default: atto)')
    parser.add_argument(
        '--batch-sizes', nargs='+', type=int, default=[1, 4, 16], help='images of a process (default: 1 4 16)'
    )
    parser.add_argument('--image-size', type=int, default=224, help='side in pixels (default: 224)')
    parser.add_argument('--repeats', type=int, default=11, help='timed turns, after two that warm up (default: 11)')
    parser.add_argument('--json', metavar='FILE', help='write rows and environment to this file')


def run(args: argparse.Namespace) -> None:
    from mmcnv2.benchmarks.ddp import benchmark
    from mmcnv2.models.backbones import ARCHITECTURES

    from .arguments import check_choices, check_positive
    from .benchmark_arguments import check_image_sizes

    check_choices(args, 'arch', ARCHITECTURES)
    check_image_sizes(args, 'image_size')
    check_positive(args, 'batch_sizes', 'repeats')
    benchmark(args.arch, args.batch_sizes, args.image_size, args.repeats, args.json)
