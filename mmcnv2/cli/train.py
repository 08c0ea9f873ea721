"""Pre-train, or train a detector, a segmenter or a classifier, as the config says.

Paths, settings, annotations and checkpoints are checked before anything is computed. Log, config and checkpoints go to
the work dir; --resume continues a stopped run exactly.
"""

import argparse
import sys

EXAMPLES = (
    'mmcnv2::toy/fcmae_convnextv2-atto_toy-scenes.py',
    'my_config.py --resume --cfg-options train_dataloader.batch_size=8',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .arguments import add_config_arguments, add_training_arguments

    add_config_arguments(parser)
    add_training_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from mmcnv2 import apis
    from mmcnv2.engine.hooks import Preempted

    from .arguments import load_training_config

    cfg = load_training_config(args)
    try:
        apis.train(cfg, args.allow_pickle)
    except Preempted as stop:
        print(stop, file=sys.stderr)
        sys.exit(128 + stop.signal_number)
