"""Run a trained model on images, folders, videos or a camera.

Results go to a folder, with the sub-folders of the source: predictions.json (COCO results with images and categories),
label_maps/, pictures/, videos/. Each file is whole or not there, and a call that was stopped goes on when it is made
again. A file that cannot be read is named in errors.jsonl, and the exit code is then 3. In place of config and
checkpoint a whole model in ONNX (mmcnv2 export) may be given, which onnxruntime runs, or a model on the Hugging Face
Hub (mmcnv2 publish --to).
"""

import argparse
import hashlib
from pathlib import Path
from typing import Any

EXAMPLES = (
    'my_config.py work_dirs/my_config/iter_90000.pth photos --out found',
    'model.onnx "scenes/**/*.tif" --out found --tile 1024 --overlap 0.2',
)
KINDS = ('json', 'masks', 'pictures', 'video')
EXIT_CODE_OF_UNREADABLE = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .arguments import add_allow_pickle, add_cfg_options, add_device

    parser.add_argument(
        'config',
        help='path of a config file, or a recipe: mmcnv2::folder/NAME.py; or a .onnx file or hf://owner/name, with no '
        'checkpoint',
    )
    parser.add_argument('checkpoint', nargs='?', help='path or URL of a checkpoint of the whole model')
    add_cfg_options(parser)
    parser.add_argument(
        'source',
        nargs='+',
        help='images, folders (with their sub-folders), globs in quotes, videos, or the number of a camera',
    )
    parser.add_argument('--out', required=True, type=Path, metavar='DIR', help='folder of the results')
    parser.add_argument(
        '--save',
        nargs='+',
        choices=KINDS,
        help='json: predictions.json; masks: the label maps of a segmenter as PNG; pictures: each image with the '
        'result drawn on it; video: the same of videos, in place of pictures of their frames (default: json or masks, '
        'and pictures or video)',
    )
    parser.add_argument('--batch-size', type=int, default=1, help='images computed at a time (default: 1)')
    parser.add_argument('--score-threshold', type=float, default=0.3, help='leave out lower scores (default: 0.3)')
    parser.add_argument('--tile', type=int, metavar='PIXELS', help='cut larger images into tiles of this side')
    parser.add_argument(
        '--overlap', type=float, default=0.2, help='share of a tile that neighbours have in common (default: 0.2)'
    )
    parser.add_argument(
        '--coco', metavar='FILE', help='annotation file whose ids of images and categories predictions.json gets'
    )
    add_device(parser)
    add_allow_pickle(parser)


def run(args: argparse.Namespace) -> None:
    import sys
    import time

    from mmcnv2.apis import Predictor
    from mmcnv2.inference.predictor import is_onnx
    from mmcnv2.inference.sources import find_items
    from mmcnv2.inference.writing import ERRORS, check_kinds, default_kinds, read_coco_ids, write_predictions
    from mmcnv2.utils.errors import InputError
    from mmcnv2.utils.hub import is_hub, pinned

    from .arguments import read_config

    is_file = is_onnx(args.config)
    if is_hub(args.config):
        args.config = pinned(args.config)
    # Which of the words after the config are sources depends on it.
    words = [*filter(None, [args.checkpoint]), *args.source]
    if is_file or is_hub(args.config):
        args.checkpoint, args.source = (None if is_file else args.config), words
    else:
        args.checkpoint, args.source = words[0], words[1:]
    if not args.source:
        raise InputError('no source: expected CONFIG CHECKPOINT SOURCE, FILE.onnx SOURCE or hf://owner/name SOURCE')
    if is_file and (args.cfg_options or args.allow_pickle):
        raise InputError(
            '--cfg-options and --allow-pickle are for a config and a checkpoint, and not for a .onnx file'
        )
    items = find_items(args.source if len(args.source) > 1 else args.source[0])
    coco = read_coco_ids(args.coco) if args.coco else None
    model = args.config if is_file else read_config(args.config, args.cfg_options)
    predictor = Predictor(model, args.checkpoint, args.device, args.score_threshold, args.allow_pickle)
    kinds = tuple(args.save or default_kinds(predictor, items))
    check_kinds(predictor, items, kinds)
    start = time.monotonic()
    written = write_predictions(
        predictor,
        items,
        args.out,
        kinds,
        _settings(args, model, kinds),
        args.batch_size,
        args.tile,
        args.overlap,
        coco,
    )
    rate = written.done / max(time.monotonic() - start, 1e-9)
    before = f', {written.before} were there already' if written.before else ''
    print(f'{args.out}: {written.done} images predicted ({rate:.3g} images/s){before}; saved: {", ".join(kinds)}')
    if written.errors:
        print(f'error: {written.errors} files could not be read: {args.out / ERRORS}', file=sys.stderr)
        sys.exit(EXIT_CODE_OF_UNREADABLE)


def _settings(args: argparse.Namespace, model: Any, kinds: tuple[str, ...]) -> dict[str, Any]:
    """Return what the results depend on, to tell whether a folder has results of the same."""
    weights = Path(args.checkpoint or args.config)
    content = repr(model.to_dict()).encode() if args.checkpoint else weights.read_bytes()
    return dict(
        config=args.config,
        config_digest=hashlib.sha256(content).hexdigest()[:16],
        checkpoint=args.checkpoint,
        checkpoint_size=weights.stat().st_size if weights.is_file() else None,
        source=args.source,
        save=sorted(kinds),
        score_threshold=args.score_threshold,
        tile=args.tile,
        overlap=args.overlap if args.tile else None,
    )
