"""Trainings on toy scenes: their configs, options, logs and checkpoints."""

import json

import torch

CONFIG = 'configs/toy/{}_convnextv2-atto_toy-scenes.py'


def data_options(task, data):
    """What points the config of a task to a folder of toy scenes."""
    folders = dict(train='unlabelled/') if task == 'fcmae' else dict(train='', val='')
    return [f'{split}_dataloader.dataset.data_root={data}/{folder}' for split, folder in folders.items()]


def pretrained(checkpoint):
    """The options that start a detector or a segmenter from the backbone of a checkpoint."""
    init_cfg = dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.')
    return [f'model.backbone.init_cfg.{key}={value}' for key, value in init_cfg.items()]


def scalars(work_dir):
    """The logged values of the only run in a work dir."""
    (file,) = work_dir.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in file.read_text().splitlines()]


def load(path):
    """A checkpoint as MMEngine wrote it."""
    return torch.load(path, weights_only=False)
