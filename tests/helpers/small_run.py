"""A run of seconds with everything random in it: crops (here numbers) by three generators, dropout, the order."""

import os
import random
import signal
import uuid

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, MODELS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import nn
from torch.utils.data import Dataset

import mmcnv2  # noqa: F401  (registers loops and hooks)


@DATASETS.register_module()
class RandomNumbers(Dataset):
    """``length`` samples; those in ``broken`` are infinite."""

    def __init__(self, length=12, broken=()):
        self.length = length
        self.broken = broken

    def __len__(self):
        return self.length

    def get_data_info(self, index):
        return dict(img_path=f'{index}.png')

    def __getitem__(self, index):
        inputs = torch.tensor([index / 10, np.random.rand(), random.random(), torch.rand(()).item()])
        if index in self.broken:
            inputs[:] = torch.inf
        return dict(inputs=inputs, data_samples=BaseDataElement(metainfo=self.get_data_info(index)))


@MODELS.register_module()
class SmallModel(BaseModel):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 1))

    def forward(self, inputs, data_samples=None, mode='loss'):
        if mode == 'predict':
            return data_samples
        return dict(loss=(self.layers(torch.stack(inputs)) - 1).square().mean())


@HOOKS.register_module()
class SignalSender(Hook):
    """What a cluster does: to one process of several or, in the n-th iteration of a ``validation``, to all."""

    def __init__(self, number, iteration=None, rank=0, validation=None):
        self.number, self.iteration, self.rank, self.validation = number, iteration, rank, validation

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.iteration and runner.rank == self.rank:
            os.kill(os.getpid(), self.number)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx + 1 == self.validation:
            os.killpg(os.getpgid(0), self.number)


@HOOKS.register_module()
class WorkerKiller(Hook):
    """Kills a worker of the data loader in the third iteration, as the kernel does where memory is short."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 2:
            os.kill(runner.train_loop.dataloader._iterator._workers[0].pid, signal.SIGKILL)


def build_runner(work_dir, *, iterations=None, epochs=3, resume_from=None, dataset=None, accumulation=1, **kwargs):
    """A runner of the loop that counts epochs or, with ``iterations``, of the one that counts these.

    ``dataloader``, ``checkpoint``, ``wrapper``, ``loop`` and ``hooks`` add to the data loader, the checkpoint hook,
    the optimizer's wrapper, the loop, the other hooks; ``schedulers`` replace the scheduler, ``more`` are arguments.
    """
    torch.manual_seed(0)
    by_epoch = iterations is None
    loop = dict(type='mmcnv2.EpochBasedTrainLoop', max_epochs=epochs)
    if not by_epoch:
        loop = dict(type='mmcnv2.IterBasedTrainLoop', max_iters=iterations)
    return Runner(
        model=dict(type='SmallModel'),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=dict(type='RandomNumbers', **(dataset or {})),
            batch_size=2,
            num_workers=0,
            sampler=dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=True),
        )
        | kwargs.get('dataloader', {}),
        train_cfg=loop | kwargs.get('loop', {}),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.05), accumulative_counts=accumulation)
        | kwargs.get('wrapper', {}),
        param_scheduler=kwargs.get('schedulers', dict(type='ExponentialLR', gamma=0.95, by_epoch=False)),
        **kwargs.get('more', {}),
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(type='mmcnv2.CheckpointHook', by_epoch=False, interval=1) | kwargs.get('checkpoint', {}),
        ),
        custom_hooks=kwargs.get('hooks'),
        resume=resume_from is not None,
        load_from=resume_from and str(resume_from),
        randomness=dict(seed=0) | kwargs.get('randomness', {}),
        experiment_name=uuid.uuid4().hex,
        default_scope='mmengine',
    )


def differences(one, other, path=''):
    """Where two checkpoints differ, bit for bit; run-time facts such as times are left out."""
    if isinstance(one, dict):
        keys = (one.keys() | other.keys()) - ({'meta', 'message_hub'} if not path else set())
        return [d for key in keys for d in differences(one.get(key), other.get(key), f'{path}.{key}')]
    if isinstance(one, list | tuple):
        pairs = zip(one, other, strict=True)
        return [d for i, pair in enumerate(pairs) for d in differences(*pair, f'{path}.{i}')]
    same = torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    return [] if same else [path]
