"""Evaluate a checkpoint with the metrics of its config.

Paths, settings, annotations and the checkpoint are checked before anything is computed.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mmcnv2.utils.errors import ConfigError

if TYPE_CHECKING:
    from mmengine.config import Config

EXAMPLES = (
    'my_config.py work_dirs/my_config/epoch_36.pth',
    'my_config.py work_dirs/my_config/epoch_36.pth --show-dir pictures --out results.json',
)
VISUALIZATION_HOOKS = ('DetVisualizationHook', 'SegVisualizationHook')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .arguments import add_config_arguments

    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='path or URL of a checkpoint of the whole model')
    parser.add_argument(
        '--out',
        metavar='PATH',
        help='save the predictions: everything to a .pkl file, COCO results of a detector to a .json file, or label '
        'maps of a segmenter, as PNG files, to a folder',
    )
    parser.add_argument('--show-dir', help='save pictures of the predictions beside the ground truth')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation (tta_model, tta_pipeline)')


def run(args: argparse.Namespace) -> None:
    from mmcnv2 import apis

    from .arguments import load_config

    cfg = load_config(args)
    apply_test_options(cfg, args)
    apis.test(cfg, args.checkpoint, args.out, args.tta, args.allow_pickle)


def apply_test_options(cfg: Config, args: argparse.Namespace) -> None:
    """Apply ``--show-dir``, as in mmdet and mmseg."""
    if args.show_dir:
        hook = cfg.default_hooks.get('visualization')
        if not hook or hook.type.split('.')[-1] not in VISUALIZATION_HOOKS:
            raise ConfigError(f'--show-dir needs default_hooks.visualization, one of {VISUALIZATION_HOOKS}')
        hook.draw = True
        if hook.type.endswith('DetVisualizationHook'):
            hook.test_out_dir = args.show_dir
        else:
            cfg.visualizer.save_dir = args.show_dir
