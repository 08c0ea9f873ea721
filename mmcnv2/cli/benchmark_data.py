"""Measure the images per second that one worker reads and augments for pre-training, beside the plain way to do it.

``plain`` is mmcv's LoadImageFromFile (OpenCV), a bicubic crop by OpenCV without antialiasing, from the same
distribution, mmcv's RandomFlip and a copy to a tensor. ``mmcnv2`` is the pipeline of the recipes, ``shards`` the same
pipeline reading from shards, into which the images are written in random order. All run in this process on one core
and take turns, 20 images each. What a data loader adds is the same for all, and left out.

A step's time is that of the pipeline up to its end, less that of the pipeline up to its start. The line ``crops`` says
how many crops are decoded at which fraction of the size, and by how much they then differ, in levels of 255, from the
same crop decoded at full size: with its edges rounded likewise, and with those drawn.
"""

import argparse

EXAMPLES = (
    '--make 4000 3000  # on JPEG files that it makes; without arguments of 500 x 375 pixels',
    '--data-root data/imagenet/train --shards --cold --json data.json',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--data-root', metavar='DIR', help='images, searched with sub-folders (default: images that it makes)'
    )
    parser.add_argument(
        '--make',
        type=int,
        nargs=2,
        default=[500, 375],
        metavar=('WIDTH', 'HEIGHT'),
        help='size of the images that it makes (default: 500 375)',
    )
    parser.add_argument('--num-images', type=int, default=200, help='to make, or to take of the folder (default: 200)')
    parser.add_argument('--crop-size', type=int, default=224, help='side in pixels (default: 224)')
    parser.add_argument('--shards', action='store_true', help='write the images to tar shards, and read these, too')
    parser.add_argument('--cold', action='store_true', help="drop the files from the system's cache before each turn")
    parser.add_argument('--repeats', type=int, default=7, help='timed passes over the images (default: 7)')
    parser.add_argument('--json', metavar='FILE', help='write rows and environment to this file')


def run(args: argparse.Namespace) -> None:
    import tempfile

    from mmcnv2.benchmarks.data import benchmark, find_images, make_photos, one_thread

    from .arguments import check_positive

    check_positive(args, 'num_images', 'crop_size', 'repeats', 'make')
    with tempfile.TemporaryDirectory() as folder, one_thread():
        if args.data_root is None:
            make_photos(folder, args.num_images, *args.make)
        paths = find_images(args.data_root or folder, args.num_images)
        shard_folder = f'{folder}/shards' if args.shards else None
        benchmark(paths, args.crop_size, args.repeats, shard_folder, args.cold, args.json)
