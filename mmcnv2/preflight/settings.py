"""Check types and arguments of the components in a config before any is built."""

import difflib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from itertools import chain
from typing import Any

from mmengine import registry
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import FlexibleRunner, Runner
from torch.utils.data import DataLoader

from mmcnv2.utils.errors import ConfigError

from .arguments import accepted_arguments
from .datasets import find_datasets

# The keys of a model, or of one of its parts, under which MODELS builds another part.
_PARTS = (
    *('data_preprocessor', 'backbone', 'neck', 'head', 'decode_head', 'auxiliary_head', 'rpn_head', 'roi_head'),
    *('bbox_head', 'mask_head', 'bbox_roi_extractor', 'mask_roi_extractor', 'module'),
    *('panoptic_head', 'panoptic_fusion_head'),
)
# The types that the annotation of a plain value allows.
_KINDS: dict[str, type | tuple[type, ...]] = {
    'bool': bool,
    'int': int,
    'float': (int, float),
    'str': (str, os.PathLike),
    'dict': dict,
    'None': type(None),
}
_LOOPS = dict(train='EpochBasedTrainLoop', val='ValLoop', test='TestLoop')
# Keys that MMEngine removes before it builds the component, or adds.
_DATALOADER_KEYS = {'num_batch_per_epoch', 'disable_subprocess_warning'}
_HOOK_KEYS = {'priority'}
_SAMPLER_KEYS = {'dataset', 'sampler', 'batch_size', 'seed'}
_LOOP_KEYS = {'by_epoch', 'runner', 'dataloader'}
_SCHEDULER_KEYS = {'convert_to_iter_based', 'epoch_length'}
_BACKEND_KEYS = {'save_dir'}
_OPTIM_WRAPPER_KEYS = {'constructor', 'paramwise_cfg'}
# Settings of a config that are not arguments of Runner.
_OTHER_SETTINGS = {'runner_type', 'tta_model', 'tta_pipeline', 'test_pipeline', 'custom_imports'}


@dataclass
class _Component:
    """A dict of the config from which a registry builds something, and the setting that holds it."""

    setting: str
    registry: Registry
    config: Mapping
    extra_keys: frozenset[str] | set[str] = frozenset()
    default_type: str | None = None


def check_settings(cfg: Config) -> None:
    """Check that types are known and that components take the arguments given to them.

    Components are the model and its parts, weight initialisers, data loaders, samplers, datasets, transforms, metrics,
    hooks, loops, optimizer with its wrapper and constructor, schedulers, visualizer and its backends: ours and other
    libraries'. For ours and for data loaders, the types of plain values (numbers, strings) are also checked.

    Raises:
        ConfigError: Names the setting, the component and the nearest right key or type.
    """
    _check_names(cfg)
    _check_strategy(cfg)
    for split in _LOOPS:
        if loader := cfg.get(f'{split}_dataloader'):
            _check_arguments(f'{split}_dataloader', DataLoader, loader, _DATALOADER_KEYS)
    scope = cfg.get('default_scope', 'mmengine')
    with suppress(ImportError):
        import_module(f'{scope}.registry')  # its registries are children of MMEngine's from then on
    for component in _components(cfg):
        if cls := _component_class(component, scope):
            _check_arguments(component.setting, cls, component.config, component.extra_keys)


def check_options(cfg: Config, options: Mapping[str, Any]) -> None:
    """Check the names of settings that ``--cfg-options`` adds to a config: a new one must be an argument of a runner.

    Deeper keys are left to ``check_settings``, which knows the components.

    Raises:
        ConfigError: Names the option and the nearest right key.
    """
    known = {*cfg, *_runner_settings()}
    for option in options:
        key = option.split('.')[0]
        if key not in known:
            raise ConfigError(f'--cfg-options {option}: the config has no setting {key!r}{_did_you_mean(key, known)}')


def _check_names(cfg: Config) -> None:
    """Check for names that are nearly one of Runner's; all others are the config's own variables."""
    known = _runner_settings()
    for key in cfg:
        if key not in known and (nearest := difflib.get_close_matches(key, known, n=1, cutoff=0.9)):
            raise ConfigError(f'{key}: no such setting; did you mean {nearest[0]}?')


def _check_strategy(cfg: Config) -> None:
    """Check for what does not go with FlexibleRunner, which loads before its hooks are ready, and with FSDP."""
    if cfg.get('runner_type') != 'FlexibleRunner':
        return
    hooks = {f'default_hooks.{name}': hook for name, hook in (cfg.get('default_hooks') or {}).items()}
    hooks |= {f'custom_hooks.{i}': hook for i, hook in enumerate(cfg.get('custom_hooks') or [])}
    for setting, hook in hooks.items():
        kind = hook.get('type', '') if isinstance(hook, Mapping) else type(hook)
        name = kind if isinstance(kind, str) else kind.__name__
        if name.rpartition('.')[2] == 'EMAHook':
            raise ConfigError(
                f'{setting}: EMAHook does not work with runner_type=FlexibleRunner, which could neither resume nor '
                'load_from: leave out the hook, or runner_type and strategy'
            )
    is_fsdp = str((cfg.get('strategy') or {}).get('type')).endswith('FSDPStrategy')
    if is_fsdp and (cfg.get('optim_wrapper') or {}).get('clip_grad'):
        # The norm would be that of a process's shard.
        raise ConfigError(
            'optim_wrapper.clip_grad: FSDPStrategy cannot clip gradients: set it to None, or train with DDP (without '
            'runner_type and strategy)'
        )


def _runner_settings() -> set[str]:
    runners = (inspect.signature(runner.__init__).parameters for runner in (Runner, FlexibleRunner))
    return {*chain(*runners), *_OTHER_SETTINGS} - {'self', 'cfg'}


# ---- which components a config has ----


def _components(cfg: Config) -> Iterator[_Component]:
    yield from _model_parts('model', cfg.get('model'))
    yield from _model_parts('tta_model', cfg.get('tta_model'))
    yield from _model_parts('data_preprocessor', cfg.get('data_preprocessor'))
    for split, default_loop in _LOOPS.items():
        yield from _dataloader_parts(f'{split}_dataloader', cfg.get(f'{split}_dataloader') or {})
        evaluator = cfg.get(f'{split}_evaluator')
        # It may also be an Evaluator, or the arguments of MMEngine's.
        if not (isinstance(evaluator, Mapping) and str(evaluator.get('type', 'Evaluator')).endswith('Evaluator')):
            yield from _each(f'{split}_evaluator', registry.METRICS, evaluator)
        if loop := cfg.get(f'{split}_cfg'):
            if split == 'train' and not loop.get('by_epoch', True):
                default_loop = 'IterBasedTrainLoop'
            yield _Component(f'{split}_cfg', registry.LOOPS, loop, _LOOP_KEYS, default_loop)
    for name, hook in (cfg.get('default_hooks') or {}).items():
        if hook is not None:
            yield _Component(f'default_hooks.{name}', registry.HOOKS, hook, _HOOK_KEYS)
    yield from _each('custom_hooks', registry.HOOKS, cfg.get('custom_hooks'), _HOOK_KEYS)
    if 'optimizer' in (wrapper := cfg.get('optim_wrapper') or {}):
        keys = _OPTIM_WRAPPER_KEYS
        yield _Component('optim_wrapper', registry.OPTIM_WRAPPERS, wrapper, keys, 'OptimWrapper')
        yield from _each('optim_wrapper.optimizer', registry.OPTIMIZERS, wrapper['optimizer'])
        constructor = dict(type=wrapper.get('constructor', 'DefaultOptimWrapperConstructor'))
        keys = {'optim_wrapper_cfg', 'paramwise_cfg'}
        yield _Component('optim_wrapper.constructor', registry.OPTIM_WRAPPER_CONSTRUCTORS, constructor, keys)
    yield from _each('param_scheduler', registry.PARAM_SCHEDULERS, cfg.get('param_scheduler'), _SCHEDULER_KEYS)
    yield from _each('visualizer', registry.VISUALIZERS, cfg.get('visualizer'))
    if isinstance(visualizer := cfg.get('visualizer'), Mapping):
        backends = visualizer.get('vis_backends')
        yield from _each('visualizer.vis_backends', registry.VISBACKENDS, backends, _BACKEND_KEYS)


def _model_parts(setting: str, config: Any) -> Iterator[_Component]:
    for component in _each(setting, registry.MODELS, config):
        yield component
        for key in _PARTS:
            if key in component.config:
                yield from _model_parts(f'{component.setting}.{key}', component.config[key])
        name = f'{component.setting}.init_cfg'
        for init in _each(name, registry.WEIGHT_INITIALIZERS, component.config.get('init_cfg'), {'override'}):
            yield init
            override = init.config.get('override')
            yield from _each(f'{init.setting}.override', registry.WEIGHT_INITIALIZERS, override, {'name'})


def _dataloader_parts(setting: str, loader: Mapping) -> Iterator[_Component]:
    for key in ('sampler', 'batch_sampler'):
        yield from _each(f'{setting}.{key}', registry.DATA_SAMPLERS, loader.get(key), _SAMPLER_KEYS)
    for name, dataset in find_datasets(f'{setting}.dataset', loader.get('dataset'), with_wrappers=True):
        yield _Component(name, registry.DATASETS, dataset)
        yield from _each(f'{name}.pipeline', registry.TRANSFORMS, dataset.get('pipeline'))


def _each(setting: str, part: Registry, config: Any, extra_keys: set[str] | frozenset = frozenset()) -> Iterator:
    """Yield the dicts of a setting that may be one, a list of them, or absent; leave out ready-made objects."""
    if isinstance(config, Mapping):
        yield _Component(setting, part, config, extra_keys)
    elif isinstance(config, list | tuple):
        for i, one in enumerate(config):
            if isinstance(one, Mapping):
                yield _Component(f'{setting}.{i}', part, one, extra_keys)


# ---- the checks ----


def _component_class(component: _Component, default_scope: str) -> Callable | None:
    """Return what a registry would call; None if the type is not a name or a callable."""
    name = component.config.get('type', component.default_type)
    if name is None:
        if component.registry is registry.HOOKS:
            raise ConfigError(f"{component.setting}: has no 'type'; is its name right?")
        return None  # left to what builds it, which may have a default
    if not isinstance(name, str):
        return name if callable(name) else None
    # Search as MMEngine does: in the registry of the scope, if it has one, and in those above.
    scope = component.config.get('_scope_', default_scope)
    own = component.registry.children.get(scope, component.registry)
    cls = own.get(name)
    if cls is None:
        nearest = _did_you_mean(name.rpartition('.')[2], _known_types(own), by_last_part=True)
        where = f'{component.setting}.type' if 'type' in component.config else component.setting
        raise ConfigError(f'{where}: no component {name!r} among {own.name}s{nearest}')
    return cls


def _known_types(own: Registry) -> set[str]:
    """Return names as a config would write them: in this scope and the ones above, and ours."""
    names: set[str] = set()
    while True:
        names.update(own.module_dict)
        if own.parent is None:
            break
        own = own.parent
    if 'mmcnv2' in own.children:
        ours = own.children['mmcnv2']
        ours.import_from_location()
        names.update(f'mmcnv2.{name}' for name in ours.module_dict)
    return names


def _check_arguments(setting: str, cls: Callable, config: Mapping, extra_keys: set[str] | frozenset) -> None:
    known, takes_others = accepted_arguments(cls)
    allowed = {*known, *extra_keys, 'type'}
    for key in config:
        if key in allowed or key == '_scope_':
            continue
        if reason := getattr(cls, 'refused', {}).get(key):
            raise ConfigError(f'{setting}.{key}: {cls.__name__} has no argument {key!r}: {reason}')
        nearest = _did_you_mean(key, allowed, cutoff=0.85 if takes_others else 0.6)
        if nearest or not takes_others:
            raise ConfigError(f'{setting}.{key}: {cls.__name__} has no argument {key!r}{nearest}')
    if cls is not DataLoader and not cls.__module__.startswith('mmcnv2.'):
        return  # others may get arguments from what builds them, and annotate loosely
    missing = [key for key, needed in known.items() if needed and key not in config and key not in extra_keys]
    if missing:
        raise ConfigError(f'{setting}: {cls.__name__} needs the argument {missing[0]!r}')
    _check_kinds(setting, cls, config)


def _check_kinds(setting: str, cls: Callable, config: Mapping) -> None:
    """Compare values with annotations such as ``int``, ``float`` or ``str | dict``; ignore other annotations."""
    parameters = inspect.signature(cls.__init__).parameters
    for key, value in config.items():
        hint = parameters[key].annotation if key in parameters else ''
        names = (hint if isinstance(hint, str) else inspect.formatannotation(hint)).split(' | ')
        if not set(names) <= set(_KINDS):
            continue
        fits = any(isinstance(value, _KINDS[name]) for name in names)
        if not fits or (isinstance(value, bool) and 'bool' not in names):
            raise ConfigError(f'{setting}.{key}: {cls.__name__} takes {" or ".join(names)}, got {value!r}')


def _did_you_mean(word: str, known: set[str], by_last_part: bool = False, cutoff: float = 0.6) -> str:
    """Return the end of a sentence that names the known word nearest to this one, '' if none is near."""
    by_word = {(name.rpartition('.')[2] if by_last_part else name): name for name in sorted(known)}
    folded = {key.lower(): key for key in by_word}
    nearest = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=cutoff)
    return f'; did you mean {by_word[folded[nearest[0]]]}?' if nearest else ''
