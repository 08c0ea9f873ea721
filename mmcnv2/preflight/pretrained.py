"""Check the checkpoints that ``init_cfg`` names."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from mmcnv2.models.weights.pretrained import PretrainedConvNeXt, PretrainedConvNeXtV2, PretrainedFCMAE
from mmcnv2.utils.errors import ConfigError, InputError
from mmcnv2.utils.hub import SCHEME

from .fitting import does_not_fit, fits, match_model, prefix_of, read_checkpoint, without_values

_OURS = {cls.__name__: cls for cls in (PretrainedConvNeXt, PretrainedConvNeXtV2, PretrainedFCMAE)}


def check_pretrained(model: nn.Module | dict) -> None:
    """Check that the checkpoints of ``init_cfg`` fit: those of ``Pretrained`` and of our initialisers.

    MMEngine would go on from random weights, with a warning. Modules that read their weights in their own way (mmdet's
    and mmseg's ``SwinTransformer``) are left to themselves.

    Args:
        model: A model whose weights are not initialised yet, or its config.

    Raises:
        ConfigError: If a file is missing or unreadable, has no key with the prefix, or fits less than half of the
            tensors of the module. A ConvNeXt, V2 or V1, must fit all but its output norms, a decoder whole if there is
            one.
    """
    for setting, module, init_cfg in _initializers(without_values(model)):
        kind = init_cfg['type'] if isinstance(init_cfg['type'], str) else init_cfg['type'].__name__
        kind, path = kind.rpartition('.')[2], init_cfg.get('checkpoint')
        if not isinstance(path, str) or ('://' in path and not path.startswith(('http://', 'https://', SCHEME))):
            continue  # a name that a loader knows, such as timm://... or torchvision://...
        if kind in _OURS:
            options = {key: value for key, value in init_cfg.items() if key not in ('type', 'override')}
            try:
                _OURS[kind](**options).match(module)
            except InputError as error:
                raise ConfigError(f'{setting}: {error}') from error
        elif kind in ('Pretrained', 'PretrainedInit') and not _reads_weights_itself(module):
            _check_pretrained(setting, module, path, init_cfg.get('prefix'))


def _check_pretrained(setting: str, module: nn.Module, path: str, prefix: str | None) -> None:
    prefix = f'{prefix.removesuffix(".")}.' if prefix else ''
    whole = read_checkpoint(path)['state_dict']
    given = {key.removeprefix(prefix): value for key, value in whole.items() if key.startswith(prefix)}
    if not given:
        starts = ', '.join(sorted({key.split('.')[0] for key in whole})[:8])
        raise ConfigError(
            f'{setting}.prefix: checkpoint {path} has no key that starts with {prefix!r}; its keys start with {starts}'
        )
    own = module.state_dict()
    if own and not any(key in given for key in own):
        right = prefix_of(whole, own)
        hint = '' if right is None else f'. Set {setting}.prefix={right}'
        raise ConfigError(
            f'{setting}: checkpoint {path} has none of the {len(own)} tensors of {type(module).__name__}: '
            f'expected {_some(own)}, got {_some(given)}{hint}'
        )
    match = match_model(given, module)
    if not fits(match, module):
        raise does_not_fit(f'{setting}: checkpoint {path}', match, own, f'this {type(module).__name__}')


def _initializers(model: nn.Module) -> Iterator[tuple[str, nn.Module, Mapping[str, Any]]]:
    """Yield the settings ``init_cfg`` of a model and of its parts, and the module that each initialises."""
    for name, module in model.named_modules():
        setting = '.'.join(filter(None, ('model', name, 'init_cfg')))
        for init_cfg in _listed(getattr(module, 'init_cfg', None)):
            yield setting, module, init_cfg
            for override in _listed(init_cfg.get('override')):
                child = getattr(module, override.get('name', ''), None)
                if isinstance(child, nn.Module):
                    # With a name alone, MMEngine takes the settings of the init_cfg.
                    yield f'{setting}.override', child, override if 'type' in override else {**init_cfg, **override}


def _listed(one_or_more: Any) -> list[Mapping[str, Any]]:
    return [one_or_more] if isinstance(one_or_more, dict) else list(one_or_more or [])


def _reads_weights_itself(module: nn.Module) -> bool:
    """Return whether a module of another package has its own ``init_weights``, which may convert what it reads."""
    method = getattr(type(module), 'init_weights', None)
    return method is not None and method.__module__.split('.')[0] not in ('mmengine', 'mmcnv2')


def _some(keys: Mapping) -> str:
    return ', '.join([*keys][:2]) + (', ...' if len(keys) > 2 else '')
