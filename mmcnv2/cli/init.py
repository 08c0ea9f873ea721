"""Look at your own data and write a config that trains on them.

Kinds of data: coco (boxes or instances in COCO's format), voc (Pascal VOC's XML files), yolo (text files of boxes or
polygons, with data.yaml), label_maps (semantic segmentation, an image file of labels each), classes (a folder for each
class), images (no labels: pre-training). It says what it saw, draws it (FILE.png), and holds out every fifth image if
there is no validation set. Then follow mmcnv2 check FILE.py and mmcnv2 train FILE.py. Nothing is written into the
folder of the data.
"""

import argparse

EXAMPLES = (
    'coco data/nuclei --out nuclei.py',
    'label_maps photos --images pictures --labels masks --out my_masks.py --checkpoint work_dirs/fcmae/epoch_300.pth',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    # Those of mmcnv2.own_data.plan, which imports numpy.
    kinds = ('coco', 'voc', 'yolo', 'label_maps', 'classes', 'images')
    parser.add_argument('kind', choices=kinds, help='what the data are')
    parser.add_argument('path', help='folder of the data; of coco also the annotation file, of yolo data.yaml')
    parser.add_argument('--out', required=True, metavar='FILE.py', help='config to write; other files lie beside it')
    parser.add_argument(
        '--checkpoint', help='weights to start from, whose network is taken: path, URL, hf://owner/name, timm://NAME'
    )
    parser.add_argument('--arch', help='size of the network without a checkpoint (default: atto)')
    parser.add_argument('--image-size', type=int, help='side in pixels (default: one that suits the images)')
    parser.add_argument(
        '--train',
        help='annotation file (coco), folder (classes) or either (yolo: a list) to train on, if it is not found',
    )
    parser.add_argument('--val', help='likewise to validate on')
    parser.add_argument(
        '--images', nargs='+', default=(), metavar='FOLDER', help='images to train on, and maybe to validate on'
    )
    parser.add_argument('--labels', nargs='+', default=(), metavar='FOLDER', help='likewise label maps')
    parser.add_argument('--classes', nargs='+', default=(), metavar='NAME', help='names of the labels 0, 1, ...')
    parser.add_argument('--force', action='store_true', help='replace files that exist')


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    from mmcnv2.own_data import Options, plan_config, write_plan
    from mmcnv2.utils.errors import InputError

    if not args.out.endswith('.py'):
        raise InputError(f'--out must end in .py, got {args.out!r}')
    options = Options(
        out=Path(args.out),
        checkpoint=args.checkpoint,
        arch=args.arch,
        image_size=args.image_size,
        train=args.train,
        val=args.val,
        images=tuple(args.images),
        labels=tuple(args.labels),
        classes=tuple(args.classes),
    )
    plan = plan_config(args.kind, args.path, options)
    written = write_plan(plan, options, args.force)
    for line in plan.seen:
        print(f'  {line}')
    print(f'wrote {", ".join(map(str, written))}')
    print(f'next: mmcnv2 check {args.out}, then mmcnv2 train {args.out}')
