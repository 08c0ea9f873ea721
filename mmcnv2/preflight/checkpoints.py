"""Check the checkpoint of a whole model: of a test, of a run to resume, or one that a training starts from."""

import logging
from collections.abc import Mapping

from mmengine.logging import print_log
from torch import nn

from mmcnv2.models.weights.matching import match_state_dicts
from mmcnv2.utils.errors import ConfigError

from .fitting import (
    does_not_fit,
    fits,
    in_backbone,
    match_model,
    prefix_of,
    read_checkpoint,
    what_is_not_loaded,
    without_values,
)


def check_checkpoint(path: str, model: nn.Module | dict, to_resume: bool = False) -> dict:
    """Check that a checkpoint of a whole model fits ``model``.

    Args:
        path: What MMEngine would load; ``install_safe_loaders`` says how it is read.
        model: The model, or its config (which MMEngine's ``FlexibleRunner`` has until it trains).
        to_resume: Whether it must also hold what training resumes from.

    Returns:
        What the file holds; its tensors are read when they are used.

    Raises:
        ConfigError: If the file is missing or unreadable, or lacks a parameter, or one has another shape.
    """
    try:
        checkpoint = read_checkpoint(path)
    except ConfigError as error:
        hint = '. An earlier one may do: --resume PATH' if to_resume else ''
        raise ConfigError(f'{error}{hint}') from error
    own = without_values(model).state_dict()
    match = match_state_dicts(checkpoint['state_dict'], own)
    if match.problems:
        raise does_not_fit(f'checkpoint {path}', match, own)
    missing = [key for key in ('meta', 'message_hub') if key not in checkpoint]
    if to_resume and missing:
        raise ConfigError(
            f'checkpoint {path} cannot be resumed from: it has no {", ".join(missing)}. It holds weights only; start '
            'a new training from them with --cfg-options load_from=PATH'
        )
    return checkpoint


def check_load_from(path: str, model: nn.Module | dict) -> set[str] | None:
    """Check the checkpoint that a training starts from, perhaps of a model with other heads.

    What does not fit, such as the last layers for other classes, is to keep its initial values; the log names it.

    Args:
        path: See ``check_checkpoint``.
        model: See ``check_checkpoint``.

    Returns:
        The keys of the state dict that fit; None if model and file agree in all of them.

    Raises:
        ConfigError: If the file is missing or unreadable, has a backbone and nothing else of the model, has another
            backbone, or fits less than half of the tensors.
    """
    given = read_checkpoint(path)['state_dict']
    model = without_values(model)
    own = model.state_dict()
    match = match_model(given, model)
    others = [key for key in own if not in_backbone(key)]
    is_other = any(in_backbone(key) and key in given for key in match.misfits)
    if len(others) < len(own) and not is_other and not any(key in given for key in others):
        raise ConfigError(f'load_from: checkpoint {path} {_only_a_backbone(path, given, own)}')
    if not fits(match, model):
        raise does_not_fit(f'load_from: checkpoint {path}', match, own)
    lines = what_is_not_loaded(given, own, match)
    if not lines:
        return None
    listed = '\n  '.join(lines)
    loaded = f'{len(match.tensors)} of the {len(own)} tensors of the model are loaded from {path}'
    print_log(f'load_from: {loaded}, and not:\n  {listed}', 'current', logging.WARNING)
    return set(match.tensors)


def _only_a_backbone(path: str, given: Mapping, own: Mapping) -> str:
    name = next(key.partition('backbone.')[0] + 'backbone' for key in own if in_backbone(key))
    backbone = (key.removeprefix(f'{name}.') for key in own if in_backbone(key))
    prefix = prefix_of(given, backbone)
    if prefix is None:
        return (
            'has no weights under the names of the model of the config. Those of other packages start a backbone '
            'with init_cfg of mmcnv2.PretrainedConvNeXtV2 (docs/how_to/weights.md)'
        )
    options = dict(type='Pretrained', checkpoint=path) | (dict(prefix=prefix) if prefix else {})
    listed = ' '.join(f'model.{name}.init_cfg.{key}={value}' for key, value in options.items())
    return f'has a backbone and nothing else of the model: start from it with --cfg-options {listed}'
