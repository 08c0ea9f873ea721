"""Write state dicts: in the file layout of each format, or published from a training checkpoint."""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmcnv2.utils.errors import InputError
from mmcnv2.utils.files import AtomicLocalBackend, written_whole

from .reading import load_checkpoint

#: Where a file of torch.save has the weights.
NESTED_UNDER = {'mmcnv2': 'state_dict', 'official': 'model', 'official-fcmae': 'model', 'mmpretrain': 'state_dict'}
#: What a published file keeps of a training's ``meta``.
META = ('cfg', 'dataset_meta', 'epoch', 'iter', 'mmengine_version', 'experiment_name')


def write_state_dict(state_dict: dict[str, Tensor], path: str | Path, format: str) -> None:
    """Write a state dict, whole or not at all.

    Args:
        state_dict: State dict in this format.
        path: ``.safetensors``, or any other name for ``torch.save``.
        format: Name of the format, which says how files of ``torch.save`` are nested.

    Raises:
        ImportError: If safetensors is needed and not installed.
        OSError: If the file cannot be written.
    """
    with written_whole(path) as temporary:
        if temporary.suffix == '.safetensors':
            from safetensors.torch import save_file

            save_file(state_dict, temporary)
        else:
            nested = NESTED_UNDER.get(format)
            torch.save({nested: state_dict} if nested else state_dict, temporary)


def publish_checkpoint(source: str, target: str) -> tuple[Path, int]:
    """Write the weights of a training checkpoint to a file with their hash in its name.

    Args:
        source: Path or URL of the checkpoint.
        target: ``NAME.pth``; the file is ``NAME-<8 hex digits>.pth``, the start of its SHA-256.

    Returns:
        Path of the file, and how many tensors it holds.

    Raises:
        InputError: If the source is not a training checkpoint, or ``target`` has another ending.
        OSError: If the file cannot be written.
    """
    if Path(target).suffix != '.pth':
        raise InputError(f'the name must end in .pth, got {target}')
    content = _published(load_checkpoint(source), source)
    buffer = io.BytesIO()  # the name follows from the content, and a file named ``target`` is not touched
    torch.save(content, buffer)
    data = buffer.getvalue()
    digest = hashlib.sha256(data).hexdigest()[:8]
    path = Path(target).with_stem(f'{Path(target).stem}-{digest}')
    AtomicLocalBackend().put(data, path)
    return path, len(content['state_dict'])


def _published(checkpoint: Any, source: str) -> dict[str, Any]:
    if not isinstance(checkpoint, dict) or 'state_dict' not in checkpoint:
        raise InputError(f'{source} has no state_dict; is it a checkpoint of a training?')
    meta = {k: v for k, v in checkpoint.get('meta', {}).items() if k in META}
    return dict(state_dict=checkpoint['state_dict'], meta=meta)
