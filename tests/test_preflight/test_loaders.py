"""Data loaders without a batch are named before training."""

import pytest
from helpers.small_run import build_runner
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

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
