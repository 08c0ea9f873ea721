"""Check a config as training would, without training: settings, paths, annotations, checkpoints.

The exit code is 0 if training can start, else 1 with one line that says what to correct. It takes train's arguments.
"""

import argparse

EXAMPLES = (
    'my_config.py',
    'mmcnv2::upernet/upernet_convnextv2-base-fcmae_8xb2-amp-160k_ade20k-512x512.py --cfg-options '
    'train_dataloader.dataset.data_root=/data/ade',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .arguments import add_config_arguments, add_training_arguments

    add_config_arguments(parser)
    add_training_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from mmcnv2 import apis

    from .arguments import load_training_config

    cfg = load_training_config(args)
    apis.check(cfg, args.allow_pickle)
    print(f'{args.config}: training can start')
