"""Train in float32 and in bfloat16 with the same seed, images and masks, and compare the losses.

Prints by how much the mean losses of 20 iterations differ, at most and at the end; --picture draws both curves. On a
CPU that does not multiply in bfloat16 the second training is many times slower, and its losses are as good.
"""

import argparse

EXAMPLES = (
    'mmcnv2::toy/fcmae_convnextv2-atto_toy-scenes.py --picture precision.png',
    'my_config.py --iterations 1000 --json precision.json',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .arguments import add_config_arguments

    add_config_arguments(parser)
    parser.add_argument('--iterations', type=int, default=300, help='of each training (default: 300)')
    parser.add_argument('--picture', metavar='FILE.png', help='draw the losses and their difference')
    parser.add_argument('--json', metavar='FILE', help='write the losses')


def run(args: argparse.Namespace) -> None:
    import json
    from pathlib import Path

    from mmcnv2.benchmarks.precision import draw, losses_by_precision, relative_differences

    from .arguments import check_positive, load_config

    check_positive(args, 'iterations')
    losses = losses_by_precision(load_config(args), args.iterations, args.allow_pickle)
    if args.json:
        Path(args.json).write_text(json.dumps(losses))
    if args.picture:
        draw(losses, args.picture)
    differences = relative_differences(losses['bfloat16'], losses['float32'])
    print(f'largest difference: {max(differences):.3%}\ndifference at the end: {differences[-1]:.3%}')
