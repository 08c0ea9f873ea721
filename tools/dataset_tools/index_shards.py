"""Index tar shards that others have made, so that mmcnv2.UnlabelledShards can read them (docs/data.md).

python tools/dataset_tools/index_shards.py 'data/imagenet_shards/{000000..000127}.tar'
"""

import argparse

from mmengine.utils import track_iter_progress

from mmcnv2.datasets.shards import expand_shards, write_index


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('shards', nargs='+', help='paths, with braces or without')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        samples = sum(write_index(shard) for shard in track_iter_progress(expand_shards(args.shards)))
    except (ImportError, ValueError, OSError) as error:
        raise SystemExit(f'index_shards: {error}') from error
    print(f'indexed {samples} samples')


if __name__ == '__main__':
    main()
