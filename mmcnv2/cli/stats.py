"""Compute mean, deviation, percentiles and range of each band of the images in a folder.

Any number of bands and any depth: PNG, JPEG, TIFF and whatever else Pillow reads, .npy, .npz. A line with the
remaining time is written every 10 seconds; files that cannot be read are named. With --out, a config can use the file:

  import json
  statistics = json.load(open('stats.json'))
  dict(type='mmcnv2.LoadImage', bands='all', value_range=statistics['value_range'])
  dict(type='mmcnv2.ImgDataPreprocessor', mean=statistics['scaled_mean'], std=statistics['scaled_std'])

value_range='stats.json' does the same as the list. Without a value_range, mean and std are statistics['mean'] and
statistics['std'].
"""

import argparse
from typing import Any

EXAMPLES = ('data/scenes', 'data/scenes --bands 3 2 1 7 --out stats.json')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folder', help='folder of images, with its sub-folders')
    parser.add_argument(
        '--bands', nargs='+', type=int, metavar='BAND', help='bands of the files, from 0 (default: all)'
    )
    parser.add_argument('--out', metavar='FILE.json', help='write everything to this file')


def run(args: argparse.Namespace) -> None:
    import json
    import os
    import sys

    from mmcnv2.datasets import UnlabelledImages
    from mmcnv2.datasets.statistics import BandStatistics
    from mmcnv2.datasets.unlabelled_images import EXTENSIONS
    from mmcnv2.evaluation.features import reported
    from mmcnv2.utils.errors import MissingFileError
    from mmcnv2.utils.files import written_whole

    if not os.path.isdir(args.folder):
        raise MissingFileError(f'{args.folder}: no such folder (from {os.getcwd()!r})')
    dataset = UnlabelledImages(data_root=args.folder, extensions=(*EXTENSIONS, '.npy', '.npz'))
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    statistics = BandStatistics(len(paths), args.bands or 'all')
    for _, path in reported(statistics.add(paths), len(paths), 'statistics'):
        if path in statistics.unreadable:
            print(f'unreadable: {path}: {statistics.unreadable[path]}', file=sys.stderr, flush=True)
    result = statistics.result()
    _show(result)
    if args.out:
        with written_whole(args.out) as temporary:
            temporary.write_text(json.dumps(dict(folder=args.folder, **result), indent=1))
        print(f'{args.out}: all of this')


def _show(result: dict[str, Any]) -> None:
    sizes = ' x '.join('-'.join(map(str, sorted({*result[side]}))) for side in ('width', 'height'))
    depths = ', '.join(f'{name} ({count})' for name, count in result['dtype'].items())
    unreadable = f', {len(result["unreadable"])} unreadable' if result['unreadable'] else ''
    print(f'{result["files"]} images{unreadable}; {depths}; {sizes} (width x height); {len(result["bands"])} bands')
    columns = dict(mean=result['mean'], std=result['std'], min=result['min'], max=result['max'])
    columns |= {f'{percent} %': values for percent, values in result['percentiles'].items()}
    columns['not finite'] = result['not_finite']
    print('band  ' + ''.join(f'{name:>12}' for name in columns))
    for i, band in enumerate(result['bands']):
        print(f'{band:4}  ' + ''.join(f'{values[i]:>12.6g}' for values in columns.values()))
    print('value_range =', [[float(f'{value:.6g}') for value in pair] for pair in result['value_range']])
    for name in ('mean', 'std'):
        values = [float(f'{value:.6g}') for value in result[f'scaled_{name}']]
        print(f'{name} = {values}  # of the data preprocessor, with this value_range')
