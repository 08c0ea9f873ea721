"""Measure images per second and memory of the dense backbone, forward and backward, beside other implementations.

With --inference, forward alone and without gradients.

``plain`` is the network written plainly (mmcnv2/benchmarks/plain_fcmae.py), ``timm`` its ``features_only`` model,
``mmpretrain`` its ConvNeXt with ``use_grn``; ``plain-compiled``, ``mmcnv2-compiled`` and so on are these under
torch.compile. One that is not installed is left out with a line that says so, one that does not fit into memory costs
its own row. All return the maps of the four stages; ``plain`` and ours have the same weights and must agree before
anything is timed, as must what is compiled and what is not. timm's maps have no output norms, mmpretrain's have them
as ours do. Results: docs/measurements/benchmarks.md.
"""

import argparse

EXAMPLES = (
    '--archs tiny base --image-sizes 512 1024',
    '--archs base --image-sizes 1024 --batch-size 4 --against plain --dtype bf16 --device cuda',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .benchmark_arguments import add_measuring_arguments

    parser.add_argument('--archs', nargs='+', default=['tiny'], help='atto to huge (default: tiny)')
    parser.add_argument('--image-sizes', nargs='+', type=int, default=[512], help='sides in pixels (default: 512)')
    parser.add_argument('--batch-size', type=int, default=1, help='images of a step (default: 1)')
    parser.add_argument(
        '--against',
        nargs='+',
        default=['plain', 'timm', 'mmpretrain'],
        help='other implementations (default: plain timm mmpretrain)',
    )
    parser.add_argument('--inference', action='store_true', help='forward alone, without gradients')
    add_measuring_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from mmcnv2.benchmarks.backbone import NAMES, benchmark
    from mmcnv2.models.backbones import ARCHITECTURES

    from .arguments import check_choices, check_positive
    from .benchmark_arguments import check_image_sizes, check_measuring_arguments

    check_choices(args, 'archs', ARCHITECTURES)
    check_choices(args, 'against', NAMES)
    check_image_sizes(args, 'image_sizes')
    check_positive(args, 'batch_size')
    check_measuring_arguments(args)
    measured = args.archs, args.image_sizes, args.batch_size, args.against
    benchmark(*measured, args.device, args.dtype, args.repeats, args.warmup, args.json, args.inference)
