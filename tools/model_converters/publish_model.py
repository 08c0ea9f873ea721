"""Makes of a training checkpoint a file to give away: weights alone, the start of their SHA-256 in the name.

    python tools/model_converters/publish_model.py work_dirs/.../epoch_1600.pth weights/fcmae_convnextv2-base.pth

writes weights/fcmae_convnextv2-base-1a2b3c4d.pth, which holds ``state_dict`` and, as ``meta``, what the training noted
of the version of MMEngine, the config and the class names. Optimiser, schedule, random states and logged values are
left out. (With MMEngine's EMAHook ``state_dict`` is the average already, and that is what is published.)
"""

import argparse
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import torch

import mmcnv2  # noqa: F401
from mmcnv2.models.weights.reading import load_checkpoint

META = ('cfg', 'dataset_meta', 'epoch', 'iter', 'mmengine_version', 'experiment_name')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', help='checkpoint of tools/train.py')
    parser.add_argument('target', help='name of the file to write, ending in .pth; the hash is put before the ending')
    return parser.parse_args()


def published(checkpoint: Any, source: str) -> dict[str, Any]:
    """What is kept of a checkpoint.

    Raises:
        ValueError: If it is none of a training.
    """
    if not isinstance(checkpoint, dict) or 'state_dict' not in checkpoint:
        raise ValueError(f'{source} has no state_dict; is it a checkpoint of tools/train.py?')
    meta = {k: v for k, v in checkpoint.get('meta', {}).items() if k in META}
    return dict(state_dict=checkpoint['state_dict'], meta=meta)


def main() -> None:
    args = parse_args()
    target = Path(args.target)
    if target.suffix != '.pth':
        sys.exit(f'error: the name must end in .pth, got {target}')
    try:
        content = published(load_checkpoint(args.source), args.source)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + '.part')
        torch.save(content, part)
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')
    digest = hashlib.sha256(part.read_bytes()).hexdigest()[:8]
    target = target.with_name(f'{target.stem}-{digest}.pth')
    os.replace(part, target)
    print(f'{target}: {len(content["state_dict"])} tensors, {target.stat().st_size / 2**20:.1f} MiB')


if __name__ == '__main__':
    main()
