"""How much of a checkpoint must fit a model that starts from it, and what is said of the rest."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from mmengine.registry import MODELS
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mmcnv2.models.backbones import ConvNeXtBase
from mmcnv2.models.weights.matching import MISSING, Match, match_state_dicts
from mmcnv2.utils.errors import ConfigError, InputError


def match_model(given: Mapping[str, Any], model: nn.Module) -> Match:
    """Compare a state dict with a model; output norms may be missing, since pre-training has none."""
    norms = {
        _join(name, key) for name, part in _convnexts(model) for key in part.state_dict() if part.is_output_norm(key)
    }
    return match_state_dicts(given, model.state_dict(), is_optional=norms.__contains__)


def fits(match: Match, model: nn.Module) -> bool:
    """Return whether enough fits: half of the tensors, every one of a ConvNeXt, and no backbone is another one."""
    own = model.state_dict()
    parts = tuple(_join(name, '') for name, _ in _convnexts(model))
    whole = {_join(name, key) for name, part in _convnexts(model) for key in part.state_dict()}
    return (
        2 * len(match.tensors) >= len(own)
        and not any(key in whole or (in_backbone(key) and why != MISSING) for key, why in match.misfits.items())
        and not any(in_backbone(part) or part.startswith(parts) for part in match.deeper)
    )


def in_backbone(key: str) -> bool:
    """Return whether a key or a part of a model is within its backbone."""
    return 'backbone' in key.split('.')


def prefix_of(given: Iterable[str], own: Iterable[str]) -> str | None:
    """Return what stands before the keys of a module in a checkpoint; None if less than half of them are there."""
    given, own = set(given), list(own)
    prefixes = {key.removesuffix(own[0]) for key in given if f'.{key}'.endswith(f'.{own[0]}')} if own else set()
    found = {prefix: sum(prefix + key in given for key in own) for prefix in prefixes}
    best = max(found, key=found.__getitem__, default=None)
    return best if best is not None and 2 * found[best] >= len(own) else None


def without_values(model: nn.Module | dict) -> nn.Module:
    """Return the model; build it without values if it is a config."""
    if isinstance(model, nn.Module):
        return model
    with torch.device('meta'):
        return MODELS.build(model)


# ---- messages ----


def does_not_fit(what: str, match: Match, own: Mapping, model: str = 'the model of the config') -> ConfigError:
    """Return the error for a checkpoint that cannot be used."""
    listed = '\n  '.join(match.problems[:8])
    deeper = f' and {len(match.deeper)} parts are too many' if match.deeper else ''
    return ConfigError(
        f'{what} does not fit {model}; {len(match.misfits)} of {len(own)} tensors disagree{deeper}:\n  {listed}'
    )


def what_is_not_loaded(given: Mapping, own: Mapping, match: Match) -> list[str]:
    """Return a line for each part of the model that keeps its initial values, and for each that is left out."""
    lines = [f'{part} stays fresh: the checkpoint has no such part' for part in _parts_only_in(own, given)]
    reasons = defaultdict(list)
    for key, reason in match.misfits.items():
        if key in given:
            module, _, name = key.rpartition('.')
            reasons[module or 'the model'].append(f'{name} {reason}')
    lines += [f'{module} stays fresh: {", ".join(listed)}' for module, listed in reasons.items()]
    return lines + [f'{part} is left out: the model has no such part' for part in _parts_only_in(given, own)]


def _parts_only_in(one: Iterable[str], other: Iterable[str]) -> list[str]:
    """Return the largest parts of a model that only one of two state dicts has."""
    shared = {part for key in other for part in _parts(key)}
    alone = (next((part for part in _parts(key) if part not in shared), None) for key in one)
    return [*dict.fromkeys(part for part in alone if part)]


def _parts(key: str) -> Iterator[str]:
    names = key.split('.')
    return ('.'.join(names[: i + 1]) for i in range(len(names)))


def _convnexts(model: nn.Module) -> list[tuple[str, ConvNeXtBase]]:
    return [(name, part) for name, part in model.named_modules() if isinstance(part, ConvNeXtBase)]


def _join(name: str, key: str) -> str:
    return f'{name}.{key}' if name else key


# ---- reading ----


def read_checkpoint(path: str) -> dict:
    """Read a checkpoint as MMEngine does, without the values of its tensors.

    Raises:
        ConfigError: If it is missing, unreadable, or has no state dict.
    """
    try:
        checkpoint = CheckpointLoader.load_checkpoint(path, map_location='meta', logger='silent')
    except InputError as error:
        raise ConfigError(str(error)) from error
    except Exception as error:
        raise ConfigError(f'checkpoint {path} cannot be read: {type(error).__name__}: {error}') from error
    given = checkpoint.get('state_dict')
    if not isinstance(given, dict) or not any(isinstance(value, Tensor) for value in given.values()):
        raise ConfigError(f'checkpoint {path} holds no state dict: expected the tensors of a model by name')
    return checkpoint
