"""Read the state dict of a checkpoint: a file, a URL, a model on the hub, or a timm model by name."""

import argparse
import json
import logging
import pickle
import re
from collections.abc import Callable
from pathlib import Path, PosixPath
from typing import Any
from urllib.parse import urlparse
from zipfile import is_zipfile

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner import CheckpointLoader
from torch import Tensor

from mmcnv2.utils.errors import InputError, MissingFileError, MissingPackageError, RefusedError
from mmcnv2.utils.hub import SCHEME, hub_config, hub_weights, is_hub
from mmcnv2.utils.plain_configs import parse_plain_values

from ..normalization import Normalization, normalization_in

# Methods that checkpoints name: MMEngine's of the log, and of OneCycle schedulers.
_METHODS: dict[type, tuple[str, ...]] = {
    HistoryBuffer: ('max', 'min', 'mean', 'current', '_set_default'),
    OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
}
META_KEY = 'mmcnv2.meta'  #: where a published safetensors file keeps ``meta``, as JSON
NESTED = ('state_dict', 'model', 'module')  # where whole checkpoints keep the weights


def read_state_dict(checkpoint: str, allow_pickle: bool = False) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint into memory.

    Args:
        checkpoint: Path of a ``.safetensors`` file or of one that ``torch.save`` wrote; an http(s) URL of such a file,
            which is downloaded once to torch's hub folder; ``hf://owner/name[@revision]``, a model on the Hugging Face
            Hub, of which only ``.safetensors`` is read; or ``timm://NAME``, a pretrained model of timm.
        allow_pickle: Read files that hold more than tensors and plain values. Such a file can run any code: allow it
            only if you trust its source.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If timm, safetensors or huggingface-hub is needed and not installed.
        ValueError: If the file is damaged, holds no tensors, or needs ``allow_pickle``.
    """
    if checkpoint.startswith('timm://'):
        return _timm_state_dict(checkpoint.removeprefix('timm://'))
    return _find_tensors(load_checkpoint(checkpoint, allow_pickle), checkpoint)


def read_normalization(checkpoint: str, allow_pickle: bool = False) -> Normalization | None:
    """Return how the images were normalised that a checkpoint was trained on; None if it does not say.

    Checkpoints of MMEngine have the config of their training (``meta.cfg``), models on the hub have one beside their
    weights, and timm knows it of its models. The config is not run; one that cannot be used counts as none, with a
    warning.

    Args:
        checkpoint: See ``read_state_dict``, as are ``allow_pickle`` and what is raised.
        allow_pickle: See there.
    """
    if checkpoint.startswith('timm://'):
        return _timm_normalization(checkpoint.removeprefix('timm://'))
    text: Any
    if is_hub(checkpoint):
        try:
            text = hub_config(checkpoint).read_text()
        except MissingFileError:  # of others, with weights alone
            return None
    else:
        content = load_checkpoint(checkpoint, allow_pickle, mmap=True)
        meta = content.get('meta') if isinstance(content, dict) else None
        text = meta.get('cfg') if isinstance(meta, dict) else None
    if not isinstance(text, str):
        return None
    try:
        return normalization_in(parse_plain_values(text, f'the config in {checkpoint}'))
    except (InputError, AttributeError, KeyError, TypeError, ValueError) as error:  # anybody may have written it
        reason = f'{type(error).__name__}: {error}'
        print_log(f'{checkpoint}: mean and std of its training are not known: {reason}', 'current', logging.WARNING)
        return None


def load_checkpoint(checkpoint: str, allow_pickle: bool = False, mmap: bool = False) -> Any:
    """Read all that ``torch.save`` wrote, onto the CPU; arguments and errors are those of ``read_state_dict``.

    Of a ``.safetensors`` file: ``state_dict`` and, of one that ``mmcnv2 publish`` wrote, ``meta``. With ``mmap``,
    tensors are read when they are used, if the file has the format of torch 1.6 or newer.
    """
    path = _local_path(checkpoint)
    if not path.is_file():
        raise MissingFileError(
            f'checkpoint {checkpoint} does not exist: give the path of a file, a URL, hf://owner/name, or timm://NAME'
        )
    if path.suffix == '.safetensors':
        return _read_safetensors(path)
    try:
        with torch.serialization.safe_globals(_safe_globals()):
            return torch.load(path, map_location='cpu', weights_only=True, mmap=mmap and is_zipfile(path))
    except Exception as error:  # RuntimeError, EOFError, KeyError..., depending on where the file is cut
        problem = error
    if allow_pickle:
        try:
            return torch.load(path, map_location='cpu', weights_only=False)
        except Exception as error:
            problem = error
    elif isinstance(problem, pickle.UnpicklingError) and _is_whole(path):
        raise RefusedError(
            f'checkpoint {path} holds more than tensors and plain values, and reading it could run any code '
            f'({_reason(problem)}). If you trust its source: allow_pickle=True (of PretrainedConvNeXtV2; '
            'for all that a tool loads, --allow-pickle)'
        ) from problem
    reason = _reason(problem) if isinstance(problem, pickle.UnpicklingError) else problem
    raise InputError(f'checkpoint {path} is damaged or was not written by torch.save: {reason}') from problem


@CheckpointLoader.register_scheme(SCHEME, force=True)
def load_from_hub(filename: str, map_location: Any = None) -> dict[str, Any]:
    """Read a model on the hub, where MMEngine is given its name; onto the CPU, since loading moves the values."""
    return load_checkpoint(filename)


def find_state_dict(content: Any) -> Any:
    """Return the weights in what a checkpoint holds; what it holds itself if it is not nested.

    They may be nested under ``state_dict``, ``model`` or ``module``. The prefix ``module.`` of a model that was saved
    while wrapped in DistributedDataParallel is removed.
    """
    while isinstance(content, dict):
        inner = next((content[key] for key in NESTED if isinstance(content.get(key), dict)), None)
        if inner is None:
            break
        content = inner
    if isinstance(content, dict) and content and all(str(key).startswith('module.') for key in content):
        return {key.removeprefix('module.'): value for key, value in content.items()}
    return content


def _timm_state_dict(name: str) -> dict[str, Tensor]:
    try:
        import timm
    except ImportError as error:
        raise MissingPackageError(f'timm://{name} needs timm: pip install timm') from error
    return timm.create_model(name, pretrained=True).state_dict()


def _timm_normalization(name: str) -> Normalization | None:
    from timm.models import get_pretrained_cfg

    known = get_pretrained_cfg(name, allow_unregistered=True)
    if known is None:
        return None
    # Of pixels of 0 to 1 there. Rounded, 255 * 0.456 is the 116.28 that configs have.
    return Normalization(*(tuple(round(255 * value, 6) for value in values) for values in (known.mean, known.std)))


def _local_path(checkpoint: str) -> Path:
    """Return the file of a path or, downloaded once, of a URL or of a model on the hub."""
    if is_hub(checkpoint):
        return hub_weights(checkpoint)
    return _download(checkpoint) if urlparse(checkpoint).scheme in ('http', 'https') else Path(checkpoint).expanduser()


def _download(url: str) -> Path:
    path = Path(torch.hub.get_dir()) / 'checkpoints' / Path(urlparse(url).path).name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path))  # to a temporary file first
    return path


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise MissingPackageError(f'{path} needs safetensors: pip install safetensors') from error
    try:
        with safe_open(path, 'pt') as file:
            content = dict(state_dict={key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
            meta = json.loads((file.metadata() or {}).get(META_KEY, 'null'))
    except (SafetensorError, ValueError) as error:
        raise InputError(f'checkpoint {path} is damaged or no safetensors file: {error}') from error
    return content if meta is None else dict(content, meta=meta)


def _reason(problem: pickle.UnpicklingError) -> str:
    """Extract what the file asked for from torch's page of advice."""
    found = re.search(r'WeightsUnpickler error:\s+(.+?)(?: by default|\. |\n|$)', str(problem))
    return found[1] if found else str(problem).splitlines()[0]


def _is_whole(path: Path) -> bool:
    """Return whether a file is a zip archive with its directory, which comes last, or a pickle (torch before 1.6)."""
    with path.open('rb') as file:
        start = file.read(2)
    if start != b'PK':
        return start == b'\x80\x02'
    try:
        torch._C.PyTorchFileReader(str(path))
    except RuntimeError:
        return False
    return True


def _safe_globals() -> list[Callable | tuple[Callable, str]]:
    """Return what checkpoints may hold besides tensors and plain values.

    MMEngine's have a message hub with numbers and averages, those of the official code the arguments of its command.
    """
    return [
        argparse.Namespace,
        PosixPath,
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        np._core.multiarray._reconstruct,  # type: ignore[attr-defined]  # private, but what the files name
        np._core.multiarray.scalar,  # type: ignore[attr-defined]
        *(type(np.dtype(kind)) for kind in '?bBhHiIlLqQefd'),  # of every boolean, integer and float
        OneCycleParamScheduler,
        (_known_method, 'builtins.getattr'),
    ]


def _known_method(owner: type, name: str) -> Callable:
    """Replace ``getattr``, with which a file could reach anything."""
    if name not in _METHODS.get(owner, ()):
        raise pickle.UnpicklingError(f'getattr of {owner!r}, {name!r}')
    return getattr(owner, name)


def _find_tensors(content: Any, checkpoint: str) -> dict[str, Tensor]:
    content = find_state_dict(content)
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise InputError(f'checkpoint {checkpoint} holds no state dict, but a {type(content).__name__}')
    return tensors
