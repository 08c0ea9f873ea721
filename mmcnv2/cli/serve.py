"""Serve a model over HTTP: POST an image to /predict, get COCO JSON or PNG.

Images that arrive together are computed together. /health tells whether it is ready, /metrics what it did (for
Prometheus), /docs what can be asked. It listens on this machine only unless told otherwise (--host), and on SIGTERM
answers what it has accepted. With a token in the variable MMCNV2_SERVE_TOKEN or in a file, requests must have it.
"""

import argparse
from pathlib import Path

EXAMPLES = (
    'work_dirs/mask_rcnn --port 8000',
    'my_config.py work_dirs/my_config/iter_1000.pth --host 0.0.0.0 --token-file token.txt --max-batch 16',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .arguments import add_allow_pickle, add_device

    parser.add_argument(
        'model',
        help='work dir of a training, whose newest checkpoint is taken, a config, an exported .onnx file, or '
        'hf://owner/name',
    )
    parser.add_argument('checkpoint', nargs='?', help='path or URL of a checkpoint of the whole model, after a config')
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on (default: 127.0.0.1, this machine)')
    parser.add_argument('--port', type=int, default=8000, help='port to listen on; 0: a free one (default: 8000)')
    parser.add_argument('--score-threshold', type=float, default=0.3, help='unless a request sets it (default: 0.3)')
    parser.add_argument('--max-batch', type=int, default=8, help='images computed at a time (default: 8)')
    parser.add_argument(
        '--max-wait', type=float, default=5, metavar='MS', help='an image waits so long for others (default: 5 ms)'
    )
    parser.add_argument(
        '--max-requests', type=int, default=128, help='answered at a time; more get 503 (default: 128)'
    )
    parser.add_argument('--max-mb', type=int, default=20, help='megabytes of a request (default: 20)')
    parser.add_argument('--max-megapixels', type=int, default=25, help='of an image (default: 25)')
    parser.add_argument(
        '--drain', type=int, default=30, metavar='SECONDS', help='to answer what is accepted at SIGTERM (default: 30)'
    )
    parser.add_argument('--token-file', type=Path, metavar='FILE', help='file with the token that requests must have')
    add_device(parser)
    add_allow_pickle(parser)


def run(args: argparse.Namespace) -> None:
    from mmcnv2.inference.loading import load_predictor
    from mmcnv2.serve import Settings, serve
    from mmcnv2.serve.settings import read_token

    settings = Settings(
        max_batch=args.max_batch,
        max_wait=args.max_wait / 1000,
        max_requests=args.max_requests,
        max_bytes=args.max_mb * 1_000_000,
        max_pixels=args.max_megapixels * 1_000_000,
        drain_seconds=args.drain,
        token=read_token(args.token_file),
    )
    given = [args.model] if args.checkpoint is None else [args.model, args.checkpoint]
    predictor = load_predictor(
        'MODEL', given, device=args.device, score_threshold=args.score_threshold, allow_pickle=args.allow_pickle
    )
    serve(predictor, args.host, args.port, settings)
