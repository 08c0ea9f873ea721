"""What ``tools/train.py`` and ``tools/test.py`` share: arguments, config, runner."""

import argparse
import difflib
import os
import subprocess
import warnings
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, DictAction
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import FlexibleRunner, Runner

from mmcnv2.utils.torchvision import make_torchvision_importable


class ConfigError(Exception):
    """Something the user named is not there or does not fit. The message is all there is to say."""


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
    # torch.distributed.launch passes this argument; torchrun sets LOCAL_RANK itself.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def load_config(args: argparse.Namespace) -> Config:
    """Reads the config file and applies ``--cfg-options``, ``--work-dir`` and ``--launcher``.

    Raises:
        ConfigError: If the file is not there or is no valid config.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if not Path(args.config).is_file():
        raise ConfigError(f'config file not found: {args.config}{_similar_config(args.config)}')
    try:
        cfg = Config.fromfile(args.config)
        cfg.merge_from_dict(args.cfg_options or {})
    except Exception as error:
        raise ConfigError(f'config {args.config} cannot be read: {type(error).__name__}: {error}') from error
    cfg.launcher = args.launcher
    # In this order: command line, config, name of the config.
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / Path(args.config).stem)
    return cfg


def build_runner(cfg: Config) -> Runner | FlexibleRunner:
    """The runner of a config, also where there is no GPU.

    Raises:
        ConfigError: If the learning rate cannot be scaled as ``auto_scale_lr`` asks.
    """
    make_torchvision_importable()  # MMEngine's report on the environment imports it
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
