"""Pre-trains, or trains a detector or a segmenter, as the config says.

python tools/train.py configs/toy/fcmae_convnextv2-atto_toy-scenes.py
"""

import argparse
import sys

from mmengine.config import Config

import mmcnv2.apis as apis
from mmcnv2.engine import Preempted


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    apis.add_config_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from this checkpoint; without a path, from the last whole one in the work dir, if it has any',
    )
    parser.add_argument('--amp', action='store_true', help='train with automatic mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale lr by images of a step (all processes and accumulated iterations) / auto_scale_lr.base_batch_size',
    )
    return parser.parse_args()


def apply_training_options(cfg: Config, args: argparse.Namespace) -> None:
    """``--amp``, ``--auto-scale-lr`` and ``--resume``, as in mmdet and mmseg."""
    if args.amp and cfg.optim_wrapper.get('type', 'OptimWrapper') != 'AmpOptimWrapper':
        if cfg.optim_wrapper.get('type', 'OptimWrapper') != 'OptimWrapper':
            raise apis.ConfigError(f'--amp needs optim_wrapper.type OptimWrapper, got {cfg.optim_wrapper.type}')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise apis.ConfigError('--auto-scale-lr needs auto_scale_lr.base_batch_size in the config')
        cfg.auto_scale_lr.enable = True
    if args.resume:
        cfg.resume = True
        cfg.load_from = args.resume
        if args.resume == 'auto':
            cfg.load_from = apis.newest_whole_checkpoint(cfg.work_dir, args.allow_pickle)


def main() -> None:
    args = parse_args()
    with apis.errors_in_one_line():
        cfg = apis.load_config(args)
        apply_training_options(cfg, args)
        apis.check_settings(cfg)
        apis.check_dataset_paths(cfg, ('train', 'val'))
        apis.check_annotations(cfg, ('train', 'val'))
        runner = apis.build_runner(cfg, args.allow_pickle)
        model = getattr(runner.model, 'module', runner.model)
        apis.check_pretrained(model)
        if cfg.get('load_from'):
            apis.check_checkpoint(cfg.load_from, model, to_resume=bool(cfg.get('resume')))
        try:
            runner.train()
        except Preempted as stop:
            print(stop, file=sys.stderr)
            sys.exit(128 + stop.signal_number)


if __name__ == '__main__':
    main()
