"""Train for many iterations and tell whether memory and open files stay constant.

Every ten iterations it records the resident memory of the process and its data loader workers, the files that they
have open, and the loss. At the end it prints slopes (least squares, after --warmup, per 100 iterations) and the range,
and with --picture draws them. Validation, checkpoints and pictures happen when the config says; --cfg-options changes
that.
"""

import argparse

EXAMPLES = (
    'mmcnv2::toy/fcmae_convnextv2-atto_toy-scenes.py --iterations 2000',
    'my_config.py --iterations 5000 --warmup 1000 --picture steady.png --json steady.json',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .arguments import add_config_arguments

    add_config_arguments(parser)
    parser.add_argument('--iterations', type=int, default=2000, help='(default: 2000)')
    parser.add_argument(
        '--warmup', type=int, default=500, help='iterations before memory must be constant (default: 500)'
    )
    parser.add_argument('--picture', metavar='FILE.png', help='draw memory, open files and loss')
    parser.add_argument('--json', metavar='FILE', help='write all rows')


def run(args: argparse.Namespace) -> None:
    import json
    from pathlib import Path

    from mmcnv2.benchmarks.steady_state import EVERY, draw, record, summary
    from mmcnv2.utils.errors import InputError

    from .arguments import load_config

    least = args.warmup + 2 * EVERY  # two records, for a slope
    if args.iterations < least:
        raise InputError(f'--iterations must be at least --warmup + {2 * EVERY} = {least}, got {args.iterations}')
    rows = record(load_config(args), args.iterations, args.allow_pickle)
    if args.json:
        Path(args.json).write_text(json.dumps(rows))
    if args.picture:
        draw(rows, args.picture)
    for name, value in summary(rows, args.warmup).items():
        print(f'{name}: {value:.4g}' if isinstance(value, float) else f'{name}: {value}')
