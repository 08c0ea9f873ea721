"""Check that a checkpoint can be read and fits the model."""

from typing import Any

import torch
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mmcnv2.models.weights.matching import match_state_dicts
from mmcnv2.utils.errors import ConfigError, InputError


def check_checkpoint(path: str, model: nn.Module | dict, to_resume: bool = False) -> None:
    """Check that a checkpoint of a whole model fits ``model``.

    Args:
        path: What MMEngine would load; ``install_safe_loaders`` says how it is read.
        model: The model, or its config (which MMEngine's ``FlexibleRunner`` has until it trains).
        to_resume: Whether it must also hold what training resumes from.

    Raises:
        ConfigError: If the file is missing or unreadable, or lacks a parameter, or one has another shape.
    """
    try:
        checkpoint = _read(path)
    except ConfigError as error:
        hint = '. An earlier one may do: --resume PATH' if to_resume else ''
        raise ConfigError(f'{error}{hint}') from error
    given = _state_dict(checkpoint, path)
    own = _without_values(model).state_dict()
    given = {key.removeprefix('module.'): value for key, value in given.items()}  # as MMEngine loads it
    problems = match_state_dicts(given, own).problems
    if problems:
        listed = '\n  '.join(problems[:8])
        raise ConfigError(
            f'checkpoint {path} does not fit the model of the config; '
            f'{len(problems)} of {len(own)} tensors disagree:\n  {listed}'
        )
    missing = [key for key in ('meta', 'message_hub') if key not in checkpoint]
    if to_resume and missing:
        raise ConfigError(
            f'checkpoint {path} cannot be resumed from: it has no {", ".join(missing)}. It holds weights only; start '
            'a new training from them with --cfg-options load_from=PATH'
        )


def check_pretrained(model: nn.Module | dict) -> None:
    """Check that ``init_cfg=dict(type='Pretrained', checkpoint=..., prefix=...)`` finds keys with that prefix.

    Args:
        model: A model whose weights are not initialised yet, or its config.

    Raises:
        ConfigError: If the file is missing or unreadable, or has no such key.
    """
    for name, module in _without_values(model).named_modules():
        init_cfgs = getattr(module, 'init_cfg', None) or []
        for init_cfg in [init_cfgs] if isinstance(init_cfgs, dict) else init_cfgs:
            prefix = init_cfg.get('prefix')
            if init_cfg['type'] != 'Pretrained' or not prefix:
                continue
            given = _state_dict(_read(init_cfg['checkpoint']), init_cfg['checkpoint'])
            if not any(key.startswith(f'{prefix.removesuffix(".")}.') for key in given):
                starts = ', '.join(sorted({key.split('.')[0] for key in given})[:8])
                raise ConfigError(
                    f'model.{name}.init_cfg.prefix: checkpoint {init_cfg["checkpoint"]} has no key that starts with '
                    f'{prefix!r}; its keys start with {starts}'
                )


def _without_values(model: nn.Module | dict) -> nn.Module:
    """Return the model; build it without values if it is a config."""
    if isinstance(model, nn.Module):
        return model
    with torch.device('meta'):
        return MODELS.build(model)


def _read(path: str) -> dict:
    """Read names and shapes, without the values."""
    try:
        return CheckpointLoader.load_checkpoint(path, map_location='meta', logger='silent')
    except InputError as error:
        raise ConfigError(str(error)) from error
    except Exception as error:
        raise ConfigError(f'checkpoint {path} cannot be read: {type(error).__name__}: {error}') from error


def _state_dict(checkpoint: dict, path: str) -> dict[str, Any]:
    given = checkpoint.get('state_dict', checkpoint)
    if not isinstance(given, dict) or not any(isinstance(value, Tensor) for value in given.values()):
        raise ConfigError(f'checkpoint {path} holds no state dict: expected the tensors of a model by name')
    return given
