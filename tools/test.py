"""Evaluates a checkpoint with the metrics of its config.

python tools/test.py CONFIG work_dirs/NAME/iter_160000.pth --show-dir pictures
"""

import argparse

from mmengine.config import Config, ConfigDict
from mmengine.evaluator import DumpResults

import mmcnv2.apis as apis

VISUALIZATION_HOOKS = ('DetVisualizationHook', 'SegVisualizationHook')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    apis.add_config_arguments(parser)
    parser.add_argument('checkpoint', help='path or URL of a checkpoint of the whole model')
    parser.add_argument('--out', metavar='FILE.pkl', help='save the predictions')
    parser.add_argument('--show-dir', help='save pictures of the predictions beside the ground truth')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation (tta_model, tta_pipeline)')
    return parser.parse_args()


def apply_test_options(cfg: Config, args: argparse.Namespace) -> None:
    """``--show-dir`` and ``--tta``, as in mmdet and mmseg, with MMEngine's plain runner."""
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        raise apis.ConfigError(f'--out must name a .pkl file, got {args.out}')
    if not cfg.get('test_dataloader') or not cfg.get('test_evaluator'):
        raise apis.ConfigError(f'config {args.config} has no test_dataloader or no test_evaluator')
    # Strategies divide the state of a training between GPUs; a test has none.
    for key in ('runner_type', 'strategy'):
        cfg.pop(key, None)
    if args.show_dir:
        hook = cfg.default_hooks.get('visualization')
        if not hook or hook.type.split('.')[-1] not in VISUALIZATION_HOOKS:
            raise apis.ConfigError(f'--show-dir needs default_hooks.visualization, one of {VISUALIZATION_HOOKS}')
        hook.draw = True
        if hook.type.endswith('DetVisualizationHook'):
            hook.test_out_dir = args.show_dir
        else:
            cfg.visualizer.save_dir = args.show_dir
    if args.tta:
        if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
            raise apis.ConfigError(f'--tta needs tta_model and tta_pipeline in the config {args.config}')
        cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline


def main() -> None:
    args = parse_args()
    with apis.errors_in_one_line():
        cfg = apis.load_config(args)
        apply_test_options(cfg, args)
        apis.check_settings(cfg)
        apis.check_dataset_paths(cfg, ('test',))
        apis.check_annotations(cfg, ('test',))
        runner = apis.build_runner(cfg, args.allow_pickle)
        model = getattr(runner.model, 'module', runner.model)
        apis.check_checkpoint(args.checkpoint, model)
        runner.load_checkpoint(args.checkpoint)
        if args.out:
            runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))
        runner.test()


if __name__ == '__main__':
    main()
