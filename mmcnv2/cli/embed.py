"""Write the feature vectors of images, or of the objects of a COCO file, to a parquet file.

One row an image or object: path, feature (float32, the maps of the chosen stages averaged over their positions), and
of an object also box (x, y, width, height), label and window, the square around the box that the network saw. A run
that was stopped goes on when it is started again; until it is done, its parts are in OUT.parts. --sheet draws some
rows beside those that the network finds most alike. An image that cannot be read has no row.
"""

import argparse
from pathlib import Path

EXAMPLES = (
    'work_dirs/fcmae/epoch_1600.pth --images photos --out photos.parquet --sheet photos.png',
    'timm://convnextv2_tiny.fcmae --images coco/val2017 --coco coco/annotations/instances_val2017.json '
    '--out objects.parquet --stages 2 3',
)
NEIGHBOURS = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .arguments import add_feature_arguments

    parser.add_argument('checkpoint', help='path, URL, hf://owner/name or timm://NAME')
    parser.add_argument('--images', required=True, metavar='DIR', help='folder of images, with its sub-folders')
    parser.add_argument('--coco', metavar='FILE', help='annotations of these images: a row for each object')
    parser.add_argument('--out', required=True, type=Path, metavar='FILE.parquet')
    parser.add_argument(
        '--sheet', type=Path, metavar='FILE.png', help=f'draw rows and the {NEIGHBOURS} nearest of each'
    )
    parser.add_argument('--queries', type=int, default=8, help='rows of the sheet (default: 8)')
    parser.add_argument(
        '--stages', nargs='+', type=int, choices=range(4), default=[3], help='stages whose maps are used (default: 3)'
    )
    add_feature_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from mmcnv2.evaluation.embeddings import Item, import_parquet, read_objects, write_embeddings

    from .arguments import check_feature_arguments, check_positive, feature_backbone, image_folder

    check_positive(args, 'queries')
    check_feature_arguments(args)
    import_parquet()  # before anything is computed
    if args.coco:
        items = read_objects(args.coco, args.images)
    else:
        items = [Item(sample) for sample in image_folder(args.images)]
    backbone = feature_backbone(args.checkpoint, args.stages, args.allow_pickle).to(args.device)
    num_rows = write_embeddings(
        backbone,
        items,
        args.out,
        dict(checkpoint=args.checkpoint, stages=sorted(args.stages)),
        args.image_size,
        args.batch_size,
        args.workers,
    )
    size = sum(backbone.channels[i] for i in set(args.stages))
    print(f'{args.out}: {num_rows} rows of {len(items)} {"objects" if args.coco else "images"}, {size} numbers each')
    if args.sheet:
        _draw(args, num_rows)


def _draw(args: argparse.Namespace, num_rows: int) -> None:
    import numpy as np
    from PIL import Image

    from mmcnv2.evaluation.embeddings import nearest, read_rows, row_images
    from mmcnv2.utils.errors import InputError
    from mmcnv2.utils.files import written_whole
    from mmcnv2.visualization.neighbours import neighbour_sheet

    if num_rows < 2:
        raise InputError(f'--sheet needs at least 2 rows, {args.out} has {num_rows}')
    queries = np.linspace(0, num_rows - 1, min(args.queries, num_rows)).astype(int)
    neighbours, cosines = nearest(args.out, queries.tolist(), NEIGHBOURS)
    numbers = np.concatenate([queries[:, None], neighbours], axis=1)
    rows = read_rows(args.out, numbers.flatten().tolist())
    tiles = row_images(rows, image_size=112)
    labels = np.array(rows.get('label', [''] * numbers.size), dtype=object).reshape(numbers.shape)
    texts = [
        [str(own[0]), *(f'{cosine:.2f} {label}' for cosine, label in zip(row, own[1:], strict=True))]
        for own, row in zip(labels, cosines, strict=True)
    ]
    sheet = neighbour_sheet([*tiles.reshape(*numbers.shape, *tiles.shape[1:])], texts)
    with written_whole(args.sheet) as temporary:
        Image.fromarray(sheet).save(temporary)
