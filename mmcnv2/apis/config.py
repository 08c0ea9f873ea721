"""What ``tools/train.py`` and ``tools/test.py`` share: arguments, config, runner."""

import argparse
import difflib
import os
import re
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import FlexibleRunner, Runner

from mmcnv2.utils.errors import ConfigError, InputError, TrainingStopped
from mmcnv2.utils.torchvision import make_torchvision_importable

from .loaders import use_careful_loaders
from .preflight.settings import check_options


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that training and testing have in common."""
    parser.add_argument('config', help='path of a config file, e.g. configs/toy/fcmae_convnextv2-atto_toy-scenes.py')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints (default: work_dirs/<name of the config>)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, e.g. train_dataloader.batch_size=8 or '
        'train_dataloader.dataset.data_root=/data/coco; lists as key="[a,b]" or key=a,b',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument(
        '--allow-pickle',
        action='store_true',
        help='read checkpoints that hold more than tensors and plain values; such a file can run any code, so only '
        'where you trust its source',
    )
    # torch.distributed.launch passes this argument; torchrun sets LOCAL_RANK itself.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def load_config(args: argparse.Namespace) -> Config:
    """Reads the config file and applies ``--cfg-options``, ``--work-dir`` and ``--launcher``.

    Raises:
        ConfigError: If the file is not there or is no valid config, or an option sets what no config has.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if not Path(args.config).is_file():
        raise ConfigError(f'config file not found: {args.config}{_similar_config(args.config)}')
    try:
        cfg = Config.fromfile(args.config)
    except Exception as error:
        raise ConfigError(f'config {args.config} cannot be read: {type(error).__name__}: {error}') from error
    options = args.cfg_options or {}
    check_options(cfg, options)
    try:
        cfg.merge_from_dict(options)
    except Exception as error:
        raise ConfigError(f'--cfg-options {options} do not fit the config: {type(error).__name__}: {error}') from error
    cfg.launcher = args.launcher
    # In this order: command line, config, name of the config.
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(args.config).stem)
    return cfg


def build_runner(cfg: Config, allow_pickle: bool = False) -> Runner | FlexibleRunner:
    """The runner of a config, also where there is no GPU; checkpoints and images are read by careful loaders.

    Args:
        cfg: The config.
        allow_pickle: See ``use_careful_loaders``.

    Raises:
        ConfigError: If the learning rate cannot be scaled as ``auto_scale_lr`` asks.
    """
    make_torchvision_importable()  # MMEngine's report on the environment imports it
    use_careful_loaders(cfg.get('default_scope', 'mmengine'), allow_pickle)
    scales_lr = (cfg.get('auto_scale_lr') or {}).get('enable', False)
    if scales_lr and cfg.get('strategy', {}).get('type') == 'DeepSpeedStrategy':
        raise ConfigError(
            'DeepSpeedStrategy does not scale the learning rate by itself: instead of auto_scale_lr, set '
            'optim_wrapper.optimizer.lr to its value x images of a step / auto_scale_lr.base_batch_size'
        )
    if not torch.cuda.is_available():
        _adapt_to_cpu(cfg)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if scales_lr:
        _count_accumulation(runner, cfg.optim_wrapper.get('accumulative_counts', 1))
    return runner


def _count_accumulation(runner: Runner | FlexibleRunner, iterations: int) -> None:
    """Has ``base_batch_size`` compared with the images of a step; MMEngine takes those of an iteration.

    In the runner's own copy of the setting: the config that it has written down stays as it was.
    """
    settings = runner.auto_scale_lr if isinstance(runner, Runner) else runner.strategy._auto_scale_lr
    settings['base_batch_size'] /= iterations
    print_log(f'auto_scale_lr: base_batch_size is that of a step; a step has {iterations} iterations', 'current')


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Ends the program with ``error: ...`` and exit code 1 on bad input and where training cannot go on.

    Bad input is an InputError, and whatever is raised while MMEngine builds a component of the config. Other errors
    keep their traceback.
    """
    try:
        yield
    except TrainingStopped as stop:
        sys.exit(f'error: {stop}')
    except InputError as error:
        # What happens in a worker of a data loader comes as the text of a whole traceback.
        message = re.split(rf'^\S*\b{type(error).__name__}: ', str(error), flags=re.MULTILINE)[-1]
        sys.exit(f'error: {message.strip()}')
    except Exception as error:
        component = _being_built(error)
        if component is None:
            raise
        where = traceback.extract_tb(error.__traceback__)[-1]
        sys.exit(
            f'error: {component} cannot be built: {type(error).__name__}: {error} ({where.filename}:{where.lineno}). '
            'Check its settings in the config'
        )


def _being_built(error: Exception) -> str | None:
    """The component that MMEngine was building when an error came up."""
    component = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == 'build_from_cfg':
            component = str(frame.f_locals['cfg'].get('type'))
        elif frame.f_code.co_name == 'from_cfg':
            component = 'the runner'
    return component


def _adapt_to_cpu(cfg: Config) -> None:
    """Processes are joined by gloo; synchronised batch norm and mixed precision are off: a CPU has neither."""
    if cfg.launcher == 'slurm':
        _set_variables_of_torchrun()
    if cfg.launcher in ('pytorch', 'slurm'):
        torch.distributed.init_process_group('gloo')
        cfg.model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
        _replace_sync_bn(cfg.model)
    optim_wrapper = cfg.get('optim_wrapper') or {}
    if optim_wrapper.get('type') == 'AmpOptimWrapper':
        warnings.warn('no GPU: training in fp32 instead of mixed precision', stacklevel=2)
        optim_wrapper.type = 'OptimWrapper'
        for key in ('dtype', 'loss_scale', 'use_fsdp'):
            optim_wrapper.pop(key, None)


def _set_variables_of_torchrun() -> None:
    """From those of slurm; MMEngine's way to do it selects a GPU."""
    env = os.environ
    env.update(RANK=env['SLURM_PROCID'], WORLD_SIZE=env['SLURM_NTASKS'], LOCAL_RANK=env['SLURM_LOCALID'])
    env.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in env:
        hosts = subprocess.check_output(['scontrol', 'show', 'hostnames', env['SLURM_NODELIST']], text=True)
        env['MASTER_ADDR'] = hosts.split()[0]


def _replace_sync_bn(config: Any) -> None:
    """Batch norm of each process instead of ``SyncBN`` (which MMEngine itself replaces where there is one process)."""
    if isinstance(config, dict) and config.get('type') in ('SyncBN', 'MMSyncBN'):
        config['type'] = 'BN'
    if isinstance(config, dict | list | tuple):
        for value in config.values() if isinstance(config, dict) else config:
            _replace_sync_bn(value)


def _similar_config(path: str) -> str:
    """The config whose name comes nearest to the one asked for, as the end of a sentence."""
    configs = {file.name: file for file in Path('configs').rglob('*.py') if '_base_' not in file.parts}
    nearest = difflib.get_close_matches(Path(path).name, configs, n=1, cutoff=0.3)
    return f'; did you mean {configs[nearest[0]]}?' if nearest else ''
