"""Publish the weights of a training checkpoint alone: in a file, or on the Hugging Face Hub.

The file is named with the start of its SHA-256. It holds ``state_dict`` and, as ``meta``, the version of MMEngine, the
config and the class names that the training recorded. Optimizer, schedule, random states and logged values are left
out. (With MMEngine's EMAHook, ``state_dict`` is already the average, and that is what is published.)

With --to, the same weights go to a repository of the hub in one commit: model.safetensors, config.py without the paths
of this machine, README.md (the model card: data, recipe, figures of the run, licence, digest) and SHA256SUMS.
"""

import argparse

EXAMPLES = (
    'work_dirs/fcmae/epoch_1600.pth weights/fcmae_convnextv2-base.pth  # writes ...-base-1a2b3c4d.pth',
    'work_dirs/my_detector/iter_90000.pth --to hf://owner/my_detector --licence apache-2.0',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('source', help='checkpoint of a training')
    parser.add_argument(
        'target', nargs='?', help='name of the file to write, ending in .pth; the hash is put before the ending'
    )
    hub = parser.add_argument_group('Hugging Face Hub')
    hub.add_argument(
        '--to', metavar='hf://OWNER/NAME', help='repository to write to; it is made if there is none (hf auth login)'
    )
    hub.add_argument('--licence', metavar='ID', help='as the hub names it, e.g. apache-2.0 (default: not stated)')
    hub.add_argument('--private', action='store_true', help='make a private repository')


def run(args: argparse.Namespace) -> None:
    from mmcnv2.models.weights.writing import publish_checkpoint, publish_to_hub
    from mmcnv2.utils.errors import InputError

    if (args.target is None) == (args.to is None):
        raise InputError('expected the name of a file to write, or --to hf://owner/name, and not both')
    if args.to is not None:
        name, num_tensors = publish_to_hub(args.source, args.to, args.licence, args.private)
        print(f'{name}: {num_tensors} tensors')
        return
    if args.licence or args.private:
        raise InputError('--licence and --private are for the hub: give --to hf://owner/name as well')
    path, num_tensors = publish_checkpoint(args.source, args.target)
    print(f'{path}: {num_tensors} tensors, {path.stat().st_size / 2**20:.1f} MiB')
