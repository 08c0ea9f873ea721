"""Write a folder of images to tar shards in WebDataset's format, each with an index (docs/data.md).

python tools/dataset_tools/make_shards.py data/imagenet/train data/imagenet_shards --shuffle 0
"""

import argparse

import numpy as np
from mmengine.utils import track_iter_progress

from mmcnv2.datasets import UnlabelledImages
from mmcnv2.datasets.shards import write_shards


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('images', help='folder of images, searched with its sub-folders')
    parser.add_argument('out', help='folder to make')
    parser.add_argument('--list', default='', metavar='FILE', help='only the images it names, a path a line')
    parser.add_argument('--max-images', type=int, default=10000, help='in a shard (default: 10000)')
    parser.add_argument('--max-mb', type=float, default=float('inf'), help='in a shard (default: no limit)')
    parser.add_argument('--shuffle', type=int, metavar='SEED', help='random order (default: sorted, or as listed)')
    args = parser.parse_args()
    for name in ('max_images', 'max_mb'):
        if getattr(args, name) <= 0:
            parser.error(f'--{name.replace("_", "-")} must be positive, got {getattr(args, name)}')
    return args


def main() -> None:
    args = parse_args()
    try:
        dataset = UnlabelledImages(data_prefix=args.images, ann_file=args.list)
        order = np.arange(len(dataset))
        if args.shuffle is not None:
            order = np.random.default_rng(args.shuffle).permutation(order)
        paths = (dataset.get_data_info(int(index))['img_path'] for index in order)
        progress = track_iter_progress((paths, len(order)))
        pattern = write_shards(progress, args.images, args.out, args.max_images, args.max_mb * 1e6)
    except (ImportError, ValueError, OSError) as error:
        raise SystemExit(f'make_shards: {error}') from error
    print(f"wrote {len(order)} images: data_root='{args.out}', shards='{pattern}'")


if __name__ == '__main__':
    main()
