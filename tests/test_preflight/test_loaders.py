"""Data loaders without a batch are named before training."""

import pytest
import torch
from helpers.small_run import build_runner
from mmcv.cnn import ConvModule
from mmengine.dataset import BaseDataset
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS
from torch import nn

from mmcnv2.preflight import check_loaders
from mmcnv2.utils.errors import ConfigError


@DATASETS.register_module()
class ImagesOfNone(BaseDataset):
    """As a filter or an empty folder leaves it."""

    def load_data_list(self):
        return []


def loader(**changes):
    sampler = dict(type='DefaultSampler', shuffle=True)
    return dict(batch_size=8, drop_last=True, sampler=sampler) | changes


def test_fewer_images_than_a_batch(tmp_path):
    runner = build_runner(tmp_path, dataset=dict(length=5), dataloader=loader())
    with pytest.raises(
        ConfigError, match=r'^train_dataloader yields no batch: 5 images, batch_size 8, 1 processes, drop'
    ):
        check_loaders(runner, ('train', 'val'))


@pytest.mark.parametrize(
    'changes', [dict(drop_last=False), dict(sampler=dict(type='InfiniteSampler')), dict(batch_size=5)]
)
def test_batches_that_can_be_filled(tmp_path, changes):
    """The loader that is looked at is the one that trains."""
    iterations = 2 if 'sampler' in changes else None
    runner = build_runner(
        tmp_path, dataset=dict(length=5), dataloader=loader(**changes), iterations=iterations, epochs=2
    )
    check_loaders(runner, ('train', 'val'))
    looked_at = runner.train_loop.dataloader
    runner.train()
    assert runner.iter == 2 and runner.train_dataloader is looked_at


@pytest.mark.parametrize('dataset', [dict(type='RandomNumbers', length=0), dict(type='ImagesOfNone')])
@pytest.mark.parametrize('sampler', ['DefaultSampler', 'InfiniteSampler'])
def test_no_images(tmp_path, dataset, sampler):
    changes = loader(dataset=dataset, sampler=dict(type=sampler, shuffle=False))
    with pytest.raises(ConfigError, match=r'^train_dataloader\.dataset has no images: look at'):
        check_loaders(build_runner(tmp_path, dataloader=changes), ('train',))


def pooled(norm):
    """The end of mmseg's PPM and ASPP heads: one position a map."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvModule(4, 4, 1, norm_cfg=dict(type=norm, **NORMS[norm])))


NORMS = dict(BN={}, GN=dict(num_groups=2), SyncBN={})


def with_head(runner, head):
    runner.model.head = head
    return runner


def test_batches_of_one_image_and_batch_norm(tmp_path):
    """torch ends such a step with an error, which the check takes the place of."""
    with pytest.raises(ValueError, match='Expected more than 1 value per channel'):
        pooled('BN')(torch.ones(1, 4, 8, 8))
    one = loader(batch_size=1)
    with pytest.raises(ConfigError, match=r'head\.1\.bn is a batch norm of maps .*batch_size to 2 or more'):
        check_loaders(with_head(build_runner(tmp_path / 'a', dataloader=one), pooled('BN')), ('train',))
    reverted = revert_sync_batchnorm(pooled('SyncBN'))  # as MMEngine does in one process
    with pytest.raises(ConfigError, match=r'head\.1\.bn is a batch norm of maps'):
        check_loaders(with_head(build_runner(tmp_path / 'c', dataloader=one), reverted), ('train',))
    last = loader(batch_size=4, drop_last=False)  # 13 images: 4, 4, 4, 1
    with pytest.raises(ConfigError, match=r'last of 13 images in batches of 4 is alone\. Set .*drop_last=True'):
        check_loaders(
            with_head(build_runner(tmp_path / 'b', dataset=dict(length=13), dataloader=last), pooled('BN')), ('train',)
        )


@pytest.mark.parametrize('norm', ['GN', 'SyncBN'])
def test_other_norms_take_one_image(tmp_path, norm):
    runner = build_runner(tmp_path, dataloader=loader(batch_size=1))
    check_loaders(with_head(runner, pooled(norm)), ('train',))


@pytest.mark.parametrize('changes', [dict(drop_last=True), dict(sampler=dict(type='InfiniteSampler'))])
def test_no_last_batch_of_one(tmp_path, changes):
    settings = loader(batch_size=4, drop_last=False) | changes
    iterations = 2 if 'sampler' in changes else None
    runner = build_runner(tmp_path, dataset=dict(length=13), dataloader=settings, iterations=iterations)
    check_loaders(with_head(runner, pooled('BN')), ('train',))
    frozen = build_runner(tmp_path / 'frozen', dataloader=loader(batch_size=1))
    check_loaders(with_head(frozen, pooled('BN').eval()), ('train',))
