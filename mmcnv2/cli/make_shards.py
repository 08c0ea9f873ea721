"""Write a folder of images to tar shards in WebDataset's format, each with an index (docs/how_to/data.md)."""

import argparse

EXAMPLES = (
    'data/imagenet/train data/imagenet_shards --shuffle 0',
    'photos photo_shards --list chosen.txt --max-images 1000',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('images', help='folder of images, searched with its sub-folders')
    parser.add_argument('out', help='folder to make')
    parser.add_argument('--list', default='', metavar='FILE', help='only the images it names, one path per line')
    parser.add_argument('--max-images', type=int, default=10000, help='per shard (default: 10000)')
    parser.add_argument('--max-mb', type=float, default=float('inf'), help='per shard (default: no limit)')
    parser.add_argument('--shuffle', type=int, metavar='SEED', help='random order (default: sorted, or as listed)')


def run(args: argparse.Namespace) -> None:
    import numpy as np
    from mmengine.utils import track_iter_progress

    from mmcnv2.datasets import UnlabelledImages
    from mmcnv2.datasets.shards import write_shards

    from .arguments import check_positive

    check_positive(args, 'max_images', 'max_mb')
    dataset = UnlabelledImages(data_prefix=args.images, ann_file=args.list)
    order = list(range(len(dataset)))
    if args.shuffle is not None:
        order = np.random.default_rng(args.shuffle).permutation(order).tolist()
    paths = (dataset.get_data_info(index)['img_path'] for index in order)
    progress = track_iter_progress((paths, len(order)))
    pattern = write_shards(progress, args.images, args.out, args.max_images, args.max_mb * 1e6)
    print(f"wrote {len(order)} images: data_root='{args.out}', shards='{pattern}'")
