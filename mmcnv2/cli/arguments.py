"""The arguments that commands with a config share, and the config that they result in."""

import argparse
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.config import Config, DictAction

from mmcnv2.recipes import read_config_file
from mmcnv2.utils.errors import ConfigError, InputError, MissingFileError

if TYPE_CHECKING:
    from mmcnv2.evaluation.features import Sample
    from mmcnv2.models.backbones import ConvNeXtBase

RANDOM = 'random weights'  #: how the names of fresh networks begin


def add_config_file(parser: argparse.ArgumentParser) -> None:
    """Add a config and the options that override its settings, for ``read_config``."""
    parser.add_argument('config', help='path of a config file, or a recipe of the package: mmcnv2::folder/NAME.py')
    add_cfg_options(parser)


def add_cfg_options(parser: argparse._ActionsContainer) -> None:
    """Add ``--cfg-options``."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, e.g. train_dataloader.batch_size=8 or '
        'train_dataloader.dataset.data_root=/data/coco; lists as key="[a,b]" or key=a,b',
    )


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that training and testing share."""
    add_config_file(parser)
    parser.add_argument('--work-dir', help='folder for logs and checkpoints (default: work_dirs/<name of the config>)')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    add_allow_pickle(parser)
    # torch.distributed.launch passes this argument; torchrun sets LOCAL_RANK itself.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def add_allow_pickle(parser: argparse._ActionsContainer) -> None:
    """Add ``--allow-pickle``."""
    parser.add_argument(
        '--allow-pickle',
        action='store_true',
        help='read checkpoints that hold more than tensors and plain values; such a file can run any code, so '
        'use this only if you trust its source',
    )


def add_device(parser: argparse._ActionsContainer) -> None:
    """Add ``--device``."""
    parser.add_argument('--device', default='auto', help='cpu, cuda or cuda:N (default: a GPU if torch sees one)')


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a training."""
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from this checkpoint; without a path, from the last whole one in the work dir, if it has any',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='train with automatic mixed precision; on a CPU in bfloat16, where the processor multiplies in it',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale lr by images of a step (all processes and accumulated iterations) / auto_scale_lr.base_batch_size',
    )


def load_config(args: argparse.Namespace) -> Config:
    """Read the config file and apply ``--cfg-options``, ``--work-dir`` and ``--launcher``.

    Raises:
        ConfigError: If the file does not exist or is not a valid config, or an option sets what no config has.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    # In this order: command line, config, name of the config.
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(cfg.filename).stem)
    return cfg


def read_config(config: str, options: dict[str, Any] | None = None) -> Config:
    """Read a config and apply options.

    Args:
        config: As ``read_config_file`` takes it.
        options: Values of ``--cfg-options`` by key.

    Raises:
        ConfigError: If the file does not exist or is not a valid config, or an option sets what no config has.
    """
    from mmcnv2.preflight.settings import check_options  # imports torch

    cfg = read_config_file(config)
    options = options or {}
    check_options(cfg, options)
    try:
        cfg.merge_from_dict(options)
    except Exception as error:
        raise ConfigError(f'--cfg-options {options} do not fit the config: {type(error).__name__}: {error}') from error
    return cfg


def load_training_config(args: argparse.Namespace) -> Config:
    """Read the config as ``load_config`` does, and apply ``--amp``, ``--auto-scale-lr`` and ``--resume``.

    Raises:
        ConfigError: If the config cannot be read, or an option does not fit it.
    """
    from mmcnv2.resuming import newest_of

    cfg = load_config(args)
    wrapper = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if args.amp and wrapper not in ('AmpOptimWrapper', 'mmcnv2.BFloat16OptimWrapper'):
        if wrapper != 'OptimWrapper':
            raise ConfigError(f'--amp needs optim_wrapper.type OptimWrapper, got {wrapper}')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise ConfigError('--auto-scale-lr needs auto_scale_lr.base_batch_size in the config')
        cfg.auto_scale_lr.enable = True
    if args.resume:
        found = newest_of(cfg, args.allow_pickle) if args.resume == 'auto' else args.resume
        # Nothing to go on from, and weights to start from: MMEngine would resume from these.
        cfg.resume = bool(found) or not cfg.get('load_from') or Path(cfg.work_dir, 'last_checkpoint').exists()
        if cfg.resume:
            cfg.load_from = found
    return cfg


def add_feature_arguments(parser: argparse._ActionsContainer) -> None:
    """Add how images are read and computed, for ``check_feature_arguments``."""
    parser.add_argument('--image-size', type=int, default=224, help='side in pixels (default: 224)')
    parser.add_argument('--batch-size', type=int, default=16, help='images computed at a time (default: 16)')
    parser.add_argument('--workers', type=int, help='processes that read images (default: 0 on a CPU, 8 on a GPU)')
    add_device(parser)
    add_allow_pickle(parser)


def check_feature_arguments(args: argparse.Namespace) -> None:
    """Check the arguments of ``add_feature_arguments``, and put in the defaults that depend on the device.

    Raises:
        InputError: If one has another value; names it and what is allowed.
    """
    from mmcnv2.utils.device import choose_device

    check_positive(args, 'image_size', 'batch_size')
    args.device = choose_device(args.device)
    if args.workers is None:
        args.workers = 0 if args.device == 'cpu' else 8


def feature_backbone(checkpoint: str, stages: Sequence[int], allow_pickle: bool) -> 'ConvNeXtBase':
    """Return a backbone for images in RGB, and say how these are normalised if it is not as ImageNet's.

    Raises:
        InputError: If it takes another number of channels, or as ``get_backbone``.
    """
    from mmcnv2.apis import get_backbone
    from mmcnv2.models.normalization import IMAGENET

    backbone = get_backbone(checkpoint, stages, allow_pickle)
    if backbone.in_channels != 3:
        raise InputError(f'{checkpoint}: images have 3 channels, and the network takes {backbone.in_channels}')
    if backbone.normalization != IMAGENET:
        print(f'{checkpoint}: images are normalised as in its training, {backbone.normalization}')
    return backbone


def network_name(backbone: 'ConvNeXtBase') -> str:
    """Return the class and the size of a network, by its name if it has one."""
    size = dict(depths=backbone.depths, channels=backbone.channels)
    name = next((name for name, arch in backbone.architectures.items() if arch == size), str(size))
    return f'{type(backbone).__name__} {name}'


def with_random_weights(backbones: Mapping[str, 'ConvNeXtBase']) -> 'dict[str, ConvNeXtBase]':
    """Return backbones and, behind them, each kind of them once with random weights.

    Networks whose images are normalised differently are of different kinds.
    """
    from mmcnv2.evaluation.features import random_backbone
    from mmcnv2.models.normalization import IMAGENET

    kinds = {}
    for backbone in backbones.values():
        other = '' if backbone.normalization == IMAGENET else f', {backbone.normalization}'
        kinds[network_name(backbone) + other] = backbone
    return dict(backbones) | {f'{RANDOM} ({kind})': random_backbone(one) for kind, one in kinds.items()}


def image_folder(folder: str, most: int | None = None) -> 'list[Sample]':
    """Return the images of a folder and its sub-folders, in the order of their paths.

    Args:
        folder: The value of ``--images``.
        most: At most so many, spread evenly; None: all.

    Raises:
        MissingFileError: If there is no such folder or no image in it.
    """
    from mmcnv2.datasets import UnlabelledImages
    from mmcnv2.evaluation.features import Sample

    if not Path(folder).is_dir():
        raise MissingFileError(f'--images {folder}: no such folder (from {os.getcwd()!r})')
    dataset = UnlabelledImages(data_root=folder)
    count = len(dataset) if most is None else min(most, len(dataset))
    return [Sample(dataset.get_data_info(i * len(dataset) // count)['img_path']) for i in range(count)]


def check_positive(args: argparse.Namespace, *names: str) -> None:
    """Check that arguments are positive numbers, or lists of them.

    Raises:
        InputError: If one is not; names the argument and its value.
    """
    for name in names:
        value = getattr(args, name)
        if min(value if isinstance(value, list | tuple) else [value]) <= 0:
            raise InputError(f'--{name.replace("_", "-")} must be positive, got {value}')


def check_choices(args: argparse.Namespace, name: str, allowed: Collection[str]) -> None:
    """Check that an argument, or each of a list, is one of the names that are allowed.

    Raises:
        InputError: Names the argument, its value and what is allowed.
    """
    value = getattr(args, name)
    for given in value if isinstance(value, list) else [value]:
        if given not in allowed:
            raise InputError(f'--{name.replace("_", "-")} must be one of {", ".join(allowed)}, got {given!r}')
