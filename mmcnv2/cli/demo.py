"""Try models in a browser: detect, segment, reconstruct masked patches, find similar images.

It listens on this machine only unless told otherwise (--host), asks no other machine for anything, and deletes what
was uploaded when it stops, and an hour after the upload. A model is a config and a checkpoint, the work dir of a
training, whose newest checkpoint is taken, a whole model in ONNX (mmcnv2 export), or hf://owner/name, a model on the
Hugging Face Hub.
"""

import argparse
from pathlib import Path

EXAMPLES = (
    '--detector work_dirs/mask_rcnn --fcmae work_dirs/fcmae',
    '--segmenter my_config.py work_dirs/my_config/iter_1000.pth --neighbours photos.parquet --port 8000',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .arguments import add_allow_pickle, add_device

    for option, tab in (('--detector', 'Detect'), ('--segmenter', 'Segment'), ('--fcmae', 'Reconstruct')):
        parser.add_argument(option, nargs='+', metavar=('CONFIG', 'CHECKPOINT'), help=f'tab {tab}')
    parser.add_argument(
        '--neighbours', type=Path, metavar='FILE.parquet', help='tab Nearest neighbours: what mmcnv2 embed has written'
    )
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on (default: 127.0.0.1, this machine)')
    parser.add_argument('--port', type=int, default=7860, help='port to listen on (default: 7860)')
    add_device(parser)
    add_allow_pickle(parser)


def run(args: argparse.Namespace) -> None:
    from mmcnv2.demo import Models, serve
    from mmcnv2.demo.models import Neighbours, load_tab
    from mmcnv2.utils.errors import InputError

    options = {name: getattr(args, name) for name in ('detector', 'segmenter', 'fcmae')}
    if not any(options.values()) and not args.neighbours:
        raise InputError('nothing to try: give --detector, --segmenter, --fcmae or --neighbours')
    loaded = {name: load_tab(name, given, args.device, args.allow_pickle) for name, given in options.items() if given}
    neighbours = Neighbours(args.neighbours, args.device, args.allow_pickle) if args.neighbours else None
    serve(Models(**loaded, neighbours=neighbours), args.host, args.port)
