"""Write state dicts: in the file layout of each format, or published from a training checkpoint."""

import hashlib
import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmcnv2.utils.errors import InputError
from mmcnv2.utils.files import AtomicLocalBackend, written_whole
from mmcnv2.utils.hub import CARD, CONFIG, DIGESTS, WEIGHTS, check_target, digest, upload
from mmcnv2.utils.plain_configs import dump_plain_config, parse_plain_config, portable
from mmcnv2.utils.run_log import validations

from .model_card import Published, model_card
from .reading import META_KEY, load_checkpoint

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


def publish_to_hub(source: str, name: str, licence: str | None = None, private: bool = False) -> tuple[str, int]:
    """Put the weights of a training checkpoint on the Hugging Face Hub, with config, model card and digests.

    Args:
        source: Path of the checkpoint, in the work dir of its training; figures are taken from the log there.
        name: ``hf://owner/name``; the repository is made if there is none.
        licence: Identifier of the hub, such as 'apache-2.0'; None: the card says that none is stated.
        private: Whether a new repository is private.

    Returns:
        The name with the new commit, and how many tensors it holds.

    Raises:
        InputError: If the source is not a training checkpoint, its config cannot be published, or the hub refuses it.
            Nothing is written then.
        ImportError: If huggingface-hub or safetensors is not installed.
    """
    check_target(name)
    content = _published(load_checkpoint(source), source)
    state_dict, meta = content['state_dict'], content['meta']
    if not isinstance(meta.get('cfg'), str):
        raise InputError(f'{source} does not say the config of its training (meta.cfg), which the hub needs')
    settings = parse_plain_config(meta.pop('cfg'), f'the config in {source}')
    imports = [name for name in settings.get('custom_imports', {}).get('imports', ()) if name != 'mmcnv2']
    if imports:
        raise InputError(
            f'the config in {source} imports {", ".join(imports)}, which those who load the model do not have'
        )
    others = [key for key, value in state_dict.items() if not isinstance(value, Tensor)]
    if others:
        raise InputError(f'{source}: state_dict must hold tensors only, got other values for {", ".join(others[:5])}')
    with tempfile.TemporaryDirectory(prefix='mmcnv2-publish-') as folder:
        weights = Path(folder, WEIGHTS)
        _write_safetensors(state_dict, portable(meta), weights)
        config = dump_plain_config(portable(settings)).encode()
        figures = _figures(source, settings, meta)
        values = sum(value.numel() for value in state_dict.values())
        published = Published(name, settings, meta, figures, values, digest(weights), licence)
        digests = {WEIGHTS: published.digest, CONFIG: hashlib.sha256(config).hexdigest()}
        files: dict[str, bytes | Path] = {
            WEIGHTS: weights,
            CONFIG: config,
            CARD: model_card(published).encode(),
            DIGESTS: ''.join(f'{value}  {file}\n' for file, value in digests.items()).encode(),
        }
        return upload(files, name, private, f'Publish {Path(source).name}'), len(state_dict)


def _write_safetensors(state_dict: Mapping[str, Tensor], meta: dict[str, Any], path: Path) -> None:
    from safetensors.torch import save_file

    # Copies, since the format takes neither strides nor two tensors in the same memory.
    tensors = {key: value.clone(memory_format=torch.contiguous_format) for key, value in state_dict.items()}
    try:
        text = json.dumps(meta, default=lambda value: value.tolist())  # numpy's
    except (AttributeError, TypeError) as error:
        raise InputError(f'meta of the checkpoint holds more than plain values: {error}') from error
    save_file(tensors, path, {'format': 'pt', META_KEY: text})


def _figures(source: str, settings: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of the validation at a checkpoint, from the log of its run."""
    logger = settings.get('default_hooks', {}).get('logger') or {}
    step = meta.get('epoch' if logger.get('log_metric_by_epoch', True) else 'iter')
    if not isinstance(step, int):
        return {}
    if Path(source).name.startswith('best_') and not logger.get('log_metric_by_epoch', True):
        step -= 1  # MMEngine counts one too many there
    found = validations(Path(source).parent).get(step, {})
    return {name: value for name, value in found.items() if value != -1}  # pycocotools: no object to judge by


def _published(checkpoint: Any, source: str) -> dict[str, Any]:
    if not isinstance(checkpoint, dict) or 'state_dict' not in checkpoint:
        raise InputError(f'{source} has no state_dict; is it a checkpoint of a training?')
    meta = {k: v for k, v in checkpoint.get('meta', {}).items() if k in META}
    return dict(state_dict=checkpoint['state_dict'], meta=meta)
