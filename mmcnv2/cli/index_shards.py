"""Index tar shards that others have made, so that mmcnv2.UnlabelledShards can read them (docs/how_to/data.md)."""

import argparse

EXAMPLES = ("'data/imagenet_shards/{000000..000127}.tar'", 'shards/a.tar shards/b.tar')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('shards', nargs='+', help='paths, with braces or without')


def run(args: argparse.Namespace) -> None:
    from mmengine.utils import track_iter_progress

    from mmcnv2.datasets.shards import expand_shards, write_index

    samples = sum(write_index(shard) for shard in track_iter_progress(expand_shards(args.shards)))
    print(f'indexed {samples} samples')
