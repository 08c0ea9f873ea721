"""Measure milliseconds for an image of whole models on a CPU: torch, torch.compile and onnxruntime, in one run.

A step is one image. Each computes the same, from RGB values to objects or logits, in fp32 on as many threads as torch
has (OMP_NUM_THREADS). Without --checkpoints the weights are random: a detector then finds objects everywhere, and what
comes after its network takes longer than of a trained one.
"""

import argparse

EXAMPLES = (
    'mmcnv2::toy/upernet_convnextv2-atto_toy-scenes.py --image-sizes 512',
    'mask_rcnn.py upernet.py --checkpoints mask_rcnn.pth upernet.pth --image-sizes 512 1024 --json rows.json',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .benchmark_arguments import add_step_arguments

    parser.add_argument('configs', nargs='+', help='config files, or recipes: mmcnv2::folder/NAME.py')
    parser.add_argument('--checkpoints', nargs='+', default=[], help='one for each config (default: random weights)')
    parser.add_argument('--image-sizes', nargs='+', type=int, default=[512], help='sides in pixels (default: 512)')
    parser.add_argument(
        '--runtimes',
        nargs='+',
        default=['compile', 'onnxruntime'],
        help='besides eager (default: compile onnxruntime)',
    )
    add_step_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from mmcnv2.benchmarks.export import RUNTIMES, benchmark
    from mmcnv2.utils.errors import InputError

    from .arguments import check_choices
    from .benchmark_arguments import check_image_sizes, check_step_arguments

    check_choices(args, 'runtimes', RUNTIMES)
    check_image_sizes(args, 'image_sizes')
    check_step_arguments(args)
    if args.checkpoints and len(args.checkpoints) != len(args.configs):
        raise InputError(f'--checkpoints takes one for each of the {len(args.configs)} configs')
    benchmark(args.configs, args.checkpoints, args.image_sizes, args.runtimes, args.repeats, args.warmup, args.json)
