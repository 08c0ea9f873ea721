"""Send many requests at once to a server of a model, some of them broken, and compare every answer with Predictor's.

It starts ``mmcnv2 serve`` on this machine. Right answers have the boxes, classes and areas that ``Predictor`` finds
one image at a time, but for rounding; broken requests (cut off, no image, empty, too many pixels or bytes, another
type, an unknown parameter) get their status and one line; some clients do not wait for an answer. Exit code 1 if an
answer is wrong or lost.

``predictor`` is the median time of ``Predictor`` for one image, reading included, before the server starts; p50 and
p95 are from sending a request to the end of its answer, without broken ones; ``model`` is the server's time in the
model alone. Clients, server and model share the processor.
"""

import argparse

EXAMPLES = (
    'work_dirs/mask_rcnn --images data/coco/val2017 --json serve.json',
    'my_config.py my_checkpoint.pth --images photos --clients 1 16 --requests 500 --max-batch 16',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .arguments import add_allow_pickle, add_device

    parser.add_argument('model', help='as of mmcnv2 serve')
    parser.add_argument('checkpoint', nargs='?', help='as of mmcnv2 serve')
    parser.add_argument('--images', required=True, metavar='DIR', help='images that are sent, again and again')
    parser.add_argument('--clients', type=int, nargs='+', default=[1, 64], help='at a time (default: 1, then 64)')
    parser.add_argument('--requests', type=int, default=2000, help='for each number of clients (default: 2000)')
    parser.add_argument('--broken', type=float, default=0.1, help='share of broken requests (default: 0.1)')
    parser.add_argument('--max-batch', type=int, default=8, help='as of mmcnv2 serve (default: 8)')
    parser.add_argument('--json', metavar='FILE', help='write rows and environment to this file')
    add_device(parser)
    add_allow_pickle(parser)


def run(args: argparse.Namespace) -> None:
    import sys

    from mmcnv2.benchmarks.serving import benchmark
    from mmcnv2.inference.loading import load_predictor
    from mmcnv2.utils.errors import InputError

    from .arguments import check_positive

    check_positive(args, 'clients', 'requests', 'max_batch')
    if not 0 <= args.broken < 1:
        raise InputError(f'--broken must be from 0 to below 1, got {args.broken}')
    model = [args.model] if args.checkpoint is None else [args.model, args.checkpoint]
    predictor = load_predictor('MODEL', model, device=args.device, allow_pickle=args.allow_pickle)
    options = ['--device', args.device, '--max-batch', str(args.max_batch)]
    options += ['--allow-pickle'] * args.allow_pickle
    if not benchmark(predictor, model, args.images, args.clients, args.requests, args.broken, options, args.json):
        sys.exit('error: answers were wrong or lost')
