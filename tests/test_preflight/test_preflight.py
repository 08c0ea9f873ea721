import sys

import pytest
import torch
from helpers.models import ARCH, build_backbone
from mmengine.config import Config
from torch import nn

from mmcnv2.engine.safe_loaders import install_safe_loaders
from mmcnv2.preflight import check_checkpoint, check_dataset_paths
from mmcnv2.utils.errors import ConfigError


def test_paths_inside_wrappers_are_checked(tmp_path):
    (tmp_path / 'images').mkdir()
    dataset = dict(type='Any', data_root=str(tmp_path), data_prefix=dict(img='images/'))
    wrapped = dict(type='RepeatDataset', dataset=dict(type='ConcatDataset', datasets=[dataset, dataset]))
    cfg = Config(dict(train_dataloader=dict(dataset=wrapped)))
    check_dataset_paths(cfg, ('train', 'val'))
    cfg.train_dataloader.dataset.dataset.datasets[1].ann_file = 'labels.json'
    with pytest.raises(ConfigError, match=r'dataset\.dataset\.datasets\.1\.ann_file: .*labels\.json'):
        check_dataset_paths(cfg, ('train',))


def test_shards_are_checked_one_by_one(tmp_path, monkeypatch):
    dataset = dict(type='mmcnv2.UnlabelledShards', data_root=str(tmp_path), shards='{8..10}.tar')
    cfg = Config(dict(train_dataloader=dict(dataset=dataset)))
    for name in ('8', '10'):
        (tmp_path / f'{name}.tar').touch()
    with pytest.raises(ConfigError, match=r'train_dataloader\.dataset\.shards: .*9\.tar does not exist'):
        check_dataset_paths(cfg, ('train',))
    (tmp_path / '9.tar').touch()
    check_dataset_paths(cfg, ('train',))
    cfg.train_dataloader.dataset.shards = '{8..10.tar'
    with pytest.raises(ConfigError, match=r'train_dataloader\.dataset\.shards: .*\{8\.\.10\.tar'):
        check_dataset_paths(cfg, ('train',))
    monkeypatch.setitem(sys.modules, 'webdataset', None)
    with pytest.raises(ConfigError, match='pip install webdataset'):
        check_dataset_paths(cfg, ('train',))


def test_checkpoints_must_fit_the_whole_model(tmp_path):
    install_safe_loaders(Config(dict(default_scope='mmengine')))
    path = str(tmp_path / 'linear.pth')
    torch.save(dict(state_dict=nn.Linear(3, 2).state_dict()), path)
    check_checkpoint(path, nn.Linear(3, 2))
    with pytest.raises(ConfigError, match=r'1 of 2 tensors disagree:\n  weight is \(2, 3\), expected \(2, 4\)'):
        check_checkpoint(path, nn.Linear(4, 2))
    with pytest.raises(ConfigError, match=r'0\.weight is missing'):
        check_checkpoint(path, nn.Sequential(nn.Linear(3, 2)))
    # FlexibleRunner has a config for a model until it trains.
    config = dict(type='mmcnv2.ConvNeXtV2', arch=ARCH)
    torch.save(build_backbone(ARCH).state_dict(), tmp_path / 'backbone.pth')
    check_checkpoint(str(tmp_path / 'backbone.pth'), config)
    with pytest.raises(ConfigError, match=r'downsample_layers\.0\.0\.weight is missing'):
        check_checkpoint(path, config)
    (tmp_path / 'text.pth').write_text('no checkpoint')
    with pytest.raises(ConfigError, match=r'text\.pth is damaged or was not written by torch\.save'):
        check_checkpoint(str(tmp_path / 'text.pth'), nn.Linear(3, 2))
