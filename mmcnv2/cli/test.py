"""Evaluate a checkpoint with the metrics of its config.

Paths, settings, annotations and the checkpoint are checked before anything is computed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mmcnv2.utils.errors import ConfigError

if TYPE_CHECKING:
    from mmengine.config import Config

EXAMPLES = (
    'my_config.py work_dirs/my_config/epoch_36.pth',
    'my_config.py work_dirs/my_config/epoch_36.pth --show-dir pictures --out results.json',
)
VISUALIZERS = ('DetLocalVisualizer', 'SegLocalVisualizer', 'UniversalVisualizer')


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
    parser.add_argument(
        '--show-dir',
        metavar='DIR',
        help='draw the predictions beside the ground truth: files of this folder, with the sub-folders of the images',
    )
    parser.add_argument(
        '--show-bands',
        nargs='+',
        type=int,
        metavar='BAND',
        help='bands of the files, from 0, that --show-dir draws as red, green and blue, or one in grey',
    )
    parser.add_argument('--tta', action='store_true', help='test-time augmentation (tta_model, tta_pipeline)')


def run(args: argparse.Namespace) -> None:
    from mmcnv2 import apis

    from .arguments import load_config

    cfg = load_config(args)
    apply_test_options(cfg, args)
    apis.test(cfg, args.checkpoint, args.out, args.tta, args.allow_pickle)


def apply_test_options(cfg: Config, args: argparse.Namespace) -> None:
    """Apply ``--show-dir``, the same in all libraries."""
    if args.show_dir:
        visualizer = cfg.get('visualizer') or {}
        if str(visualizer.get('type')).split('.')[-1] not in VISUALIZERS:
            raise ConfigError(
                f'--show-dir needs a visualizer that draws predictions, visualizer=dict(type=...) with one of '
                f'{", ".join(VISUALIZERS)}; got {visualizer.get("type")}'
            )
        hook = dict(type='mmcnv2.PredictionVisualizationHook', out_dir=str(Path(args.show_dir).absolute()))
        if args.show_bands:
            hook['bands'] = args.show_bands
        own = cfg.default_hooks.get('visualization') or {}
        if 'score_thr' in own:  # mmdet's
            hook['pred_score_thr'] = own['score_thr']
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]
