"""Build the runner of a config, on machines with and without a GPU."""

import os
import subprocess
import warnings
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import master_only
from mmengine.hooks import LoggerHook
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import FlexibleRunner, Runner

from mmcnv2.resuming import EvaluationSeedHook
from mmcnv2.utils.errors import ConfigError
from mmcnv2.utils.processor import multiplies_bfloat16

from .console import BriefConsole
from .hooks import ConstantTargetsHook, CurvesHook, SummaryHook
from .reporting import spare_the_run


class BriefRunner(BriefConsole, Runner):
    """MMEngine's runner, whose long listings go to the log file only."""


def build_runner(cfg: Config) -> Runner | FlexibleRunner:
    """Build the runner of a config, also without a GPU; what draws or logs cannot end its run.

    Args:
        cfg: The config. Without a GPU it is changed, see ``_adapt_to_cpu``; so it is if a scheduler begins after the
            end of the training, a hook is None, or ``compile`` is set, which ``CompileHook`` does.

    Raises:
        ConfigError: If the learning rate cannot be scaled as ``auto_scale_lr`` asks, or nothing launched the processes
            that FSDP shards between.
    """
    scales_lr = (cfg.get('auto_scale_lr') or {}).get('enable', False)
    strategy = str((cfg.get('strategy') or {}).get('type', ''))
    if strategy.endswith('FSDPStrategy') and cfg.get('launcher', 'none') == 'none':
        raise ConfigError(
            f'strategy.type={strategy} shards between processes: start it with tools/dist_train.sh CONFIG GPUS, or '
            'leave out runner_type and strategy'
        )
    if scales_lr and strategy == 'DeepSpeedStrategy':
        raise ConfigError(
            'DeepSpeedStrategy does not scale the learning rate by itself: instead of auto_scale_lr, set '
            'optim_wrapper.optimizer.lr to its value x images of a step / auto_scale_lr.base_batch_size'
        )
    if not torch.cuda.is_available():
        _adapt_to_cpu(cfg)
    _leave_out_late_schedulers(cfg)
    _leave_out_hooks(cfg)
    _compile_by_hook(cfg)
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else BriefRunner.from_cfg(cfg)
    if scales_lr:
        _count_accumulation(runner, cfg.optim_wrapper.get('accumulative_counts', 1))
    runner.register_hook(EvaluationSeedHook())
    runner.register_hook(SummaryHook())
    runner.register_hook(ConstantTargetsHook())
    runner.register_hook(CurvesHook())
    _log_tests_once(runner)
    spare_the_run(runner)
    # The log and the work dir have the config, readable. Each checkpoint would format it again: thousands of objects
    # in circles, which Python frees only when there are 100,000 of them.
    runner.cfg = Config(runner.cfg.to_dict(), filename=runner.cfg.filename, format_python_code=False)
    return runner


def _log_tests_once(runner: Runner | FlexibleRunner) -> None:
    """Let only the main process write the metrics of a test: MMEngine's hook writes one file from all, at once."""
    for hook in runner.hooks:
        if isinstance(hook, LoggerHook):
            hook.after_test_epoch = master_only(hook.after_test_epoch)


def _leave_out_hooks(cfg: Config) -> None:
    """Leave out hooks that are None. MMEngine does it for its own six, and fails on others."""
    own = ('runtime_info', 'timer', 'sampler_seed', 'logger', 'param_scheduler', 'checkpoint')
    hooks = cfg.get('default_hooks') or {}
    for name in [name for name, hook in hooks.items() if hook is None and name not in own]:
        del hooks[name]


def _compile_by_hook(cfg: Config) -> None:
    """Replace ``compile``, with which MMEngine compiles the training step as a whole, by ``CompileHook``."""
    if (settings := cfg.pop('compile', None)) is None or settings is False:
        return
    hook = dict(type='mmcnv2.CompileHook', **({} if settings is True else settings))
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]


def _count_accumulation(runner: Runner | FlexibleRunner, iterations: int) -> None:
    """Make ``base_batch_size`` refer to the images of a step; MMEngine compares it with those of an iteration.

    This changes the runner's own copy of the setting; the config that it has saved stays as it was.
    """
    settings = runner.auto_scale_lr if isinstance(runner, Runner) else runner.strategy._auto_scale_lr
    settings['base_batch_size'] /= iterations
    print_log(f'auto_scale_lr: base_batch_size is that of a step; a step has {iterations} iterations', 'current')


def _leave_out_late_schedulers(cfg: Config) -> None:
    """Remove schedulers without ``end`` that a short training never reaches: MMEngine cannot build them."""
    loop = cfg.get('train_cfg') or {}
    by_epoch = 'max_epochs' in loop
    length = loop.get('max_epochs' if by_epoch else 'max_iters')
    if isinstance(cfg.get('param_scheduler'), list) and length is not None:
        cfg.param_scheduler = [
            scheduler
            for scheduler in cfg.param_scheduler
            if scheduler.get('by_epoch', True) != by_epoch or 'end' in scheduler or scheduler.get('begin', 0) < length
        ]


def _adapt_to_cpu(cfg: Config) -> None:
    """Join processes by gloo; change what a CPU does not have: synchronised batch norm, float16, mixed precision."""
    launcher = cfg.get('launcher')  # which the Python API need not set
    if launcher == 'slurm':
        _set_variables_of_torchrun()
    if launcher in ('pytorch', 'slurm'):
        torch.distributed.init_process_group('gloo')
        _adapt_model_wrapper(cfg)
        _replace_sync_bn(cfg.model)
    optim_wrapper = cfg.get('optim_wrapper') or {}
    if optim_wrapper.get('type') == 'AmpOptimWrapper':
        _adapt_mixed_precision(optim_wrapper)
    for split in ('val', 'test'):
        loop = cfg.get(f'{split}_cfg') or {}
        # MMEngine would compute all of the model in bfloat16, which mmcv's operators do not know.
        if loop.pop('fp16', False):
            warnings.warn(f'no GPU: {split}_cfg.fp16 is ignored, evaluating in fp32', stacklevel=2)


def _adapt_model_wrapper(cfg: Config) -> None:
    """Wrap the model as MMEngine does, or as the config says, but on no GPU."""
    unused = cfg.get('find_unused_parameters', False)
    wrapper = dict(type='MMDistributedDataParallel', broadcast_buffers=False, find_unused_parameters=unused)
    wrapper.update(cfg.get('model_wrapper_cfg') or {})
    if 'DistributedDataParallel' in str(wrapper['type']):
        wrapper['device_ids'] = None
    cfg.model_wrapper_cfg = wrapper


def _adapt_mixed_precision(optim_wrapper: dict) -> None:
    """Replace ``AmpOptimWrapper``: by bfloat16 where the processor multiplies in it, else by fp32."""
    dtype = str(optim_wrapper.pop('dtype', None) or 'float16').removeprefix('torch.')
    for key in ('loss_scale', 'use_fsdp'):
        optim_wrapper.pop(key, None)
    if dtype in ('float16', 'bfloat16') and multiplies_bfloat16():
        optim_wrapper['type'] = 'mmcnv2.BFloat16OptimWrapper'  # which logs it
        if dtype == 'float16':
            warnings.warn('no GPU: mixed precision in bfloat16 instead of float16', stacklevel=3)
    else:
        optim_wrapper['type'] = 'OptimWrapper'
        warnings.warn('no GPU: training in fp32 instead of mixed precision', stacklevel=3)


def _set_variables_of_torchrun() -> None:
    """Set torchrun's variables from slurm's; MMEngine's way of doing so selects a GPU."""
    env = os.environ
    env.update(RANK=env['SLURM_PROCID'], WORLD_SIZE=env['SLURM_NTASKS'], LOCAL_RANK=env['SLURM_LOCALID'])
    env.setdefault('MASTER_PORT', '29500')
    if 'MASTER_ADDR' not in env:
        hosts = subprocess.check_output(['scontrol', 'show', 'hostnames', env['SLURM_NODELIST']], text=True)
        env['MASTER_ADDR'] = hosts.split()[0]


def _replace_sync_bn(config: Any) -> None:
    """Replace ``SyncBN`` by the batch norm of each process (MMEngine does so itself if there is only one)."""
    if isinstance(config, dict) and config.get('type') in ('SyncBN', 'MMSyncBN'):
        config['type'] = 'BN'
    if isinstance(config, dict | list | tuple):
        for value in config.values() if isinstance(config, dict) else config:
            _replace_sync_bn(value)
