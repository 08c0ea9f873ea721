"""Publish the weights of a training checkpoint alone, in a file named with the start of its SHA-256.

The file holds ``state_dict`` and, as ``meta``, the version of MMEngine, the config and the class names that the
training recorded. Optimizer, schedule, random states and logged values are left out. (With MMEngine's EMAHook,
``state_dict`` is already the average, and that is what is published.)
"""

import argparse

EXAMPLES = (
    'work_dirs/fcmae/epoch_1600.pth weights/fcmae_convnextv2-base.pth  # writes ...-base-1a2b3c4d.pth',
    'work_dirs/my_detector/epoch_36.pth my_detector.pth',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('source', help='checkpoint of a training')
    parser.add_argument('target', help='name of the file to write, ending in .pth; the hash is put before the ending')


def run(args: argparse.Namespace) -> None:
    from mmcnv2.models.weights.writing import publish_checkpoint

    path, num_tensors = publish_checkpoint(args.source, args.target)
    print(f'{path}: {num_tensors} tensors, {path.stat().st_size / 2**20:.1f} MiB')
