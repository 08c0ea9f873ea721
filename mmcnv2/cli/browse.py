"""Draw what the network really gets: inputs after augmentation, with their labels.

browse.html has everything in it: sheets of samples with boxes, masks, label maps or classes (of a pre-training with
the masked patches beside them), and histograms of classes and sizes, for each split. The sheets and histograms are PNG
files beside it. Pixels are taken after augmentation, augmentation of whole batches and padding.
"""

import argparse
from pathlib import Path

EXAMPLES = (
    'my_config.py',
    'my_config.py --splits train --samples 1000 --seed 1 --out look',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .arguments import add_config_file

    add_config_file(parser)
    parser.add_argument(
        '--splits',
        nargs='+',
        choices=['train', 'val', 'test'],
        help='which data to look at (default: train, and val if the config has it)',
    )
    parser.add_argument('--samples', type=int, default=200, help='samples a split in the histograms (default: 200)')
    parser.add_argument('--pictures', type=int, default=24, help='how many of them are drawn (default: 24)')
    parser.add_argument(
        '--bands',
        nargs='+',
        type=int,
        metavar='BAND',
        help='of images with other bands than RGB: three of the input, or one, that are drawn (default: the first)',
    )
    parser.add_argument('--seed', type=int, default=0, help='of shuffling and augmentation (default: 0)')
    parser.add_argument(
        '--out', type=Path, metavar='DIR', help='folder of the files (default: work_dirs/<name of the config>/browse)'
    )


def run(args: argparse.Namespace) -> None:
    from mmcnv2.engine.safe_loaders import install_safe_loaders
    from mmcnv2.preflight import check_data
    from mmcnv2.report import write_inputs_page

    from .arguments import check_positive, read_config

    check_positive(args, 'samples', 'pictures')
    cfg = read_config(args.config, args.cfg_options)
    splits = args.splits or ['train', *(['val'] if cfg.get('val_dataloader') else [])]
    install_safe_loaders(cfg)
    check_data(cfg, tuple(splits))
    out = args.out or Path('work_dirs') / Path(cfg.filename).stem / 'browse'
    print(write_inputs_page(cfg, splits, out, args.samples, args.pictures, args.bands, args.seed))
