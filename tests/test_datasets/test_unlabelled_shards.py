"""UnlabelledShards: exact epochs by real workers of several ranks, damaged shards, unreadable images."""

import collections
import gc
import os

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from PIL import Image
from torch.utils.data import DataLoader

from mmcnv2.datasets import UnlabelledImages, UnlabelledShards
from mmcnv2.datasets.shards import write_shards
from mmcnv2.utils.errors import InputError

LOAD_AND_PACK = [dict(type='mmcnv2.LoadRGBImage'), dict(type='mmcnv2.PackUnlabelled')]
SHARDS = '{000000..000002}.tar'


@pytest.fixture
def shards(tmp_path):
    """Three shards with 20, 20 and 10 images, whose red value is their number; 7 and 31 are unreadable."""
    paths = [str(tmp_path / f'{number:02d}.png') for number in range(50)]
    for number, path in enumerate(paths):
        Image.new('RGB', (8, 8), (number, 0, 0)).save(path)
    for number in (7, 31):
        (tmp_path / f'{number:02d}.png').write_bytes(b'no image')
    write_shards(paths, str(tmp_path), str(tmp_path / 'shards'), max_images=20, max_bytes=1e9)
    return str(tmp_path / 'shards')


@pytest.fixture
def loader(shards, monkeypatch):
    """Builds the data loader of a rank, as a runner does it."""

    def build(rank, world_size, batch_size, num_workers, **kwargs):
        monkeypatch.setattr('mmengine.dataset.sampler.get_dist_info', lambda: (rank, world_size))
        dataset = dict(type='mmcnv2.UnlabelledShards', shards=SHARDS, data_root=shards, pipeline=LOAD_AND_PACK)
        sampler = dict(type='mmcnv2.ChunkedSampler', chunk_size=4, buffer_size=12)
        loader = dict(batch_size=batch_size, num_workers=num_workers, drop_last=True, sampler=sampler)
        return Runner.build_dataloader(dict(loader, dataset=dict(dataset, **kwargs)), seed=0)

    return build


def red(sample):
    return int(sample['inputs'][0, 0, 0])


def epoch(loader, number):
    """The images that a loader's batches bring; unreadable ones are replaced by the next."""
    loader.sampler.set_epoch(number)
    return [[red(dict(inputs=image)) for image in batch['inputs']] for batch in loader]


@pytest.mark.slow
@pytest.mark.parametrize(('world_size', 'batch_size', 'num_batches'), [(2, 5, 5), (3, 4, 4)])
@pytest.mark.parametrize('num_workers', [0, 2])
def test_each_image_once_over_ranks_and_workers(loader, world_size, batch_size, num_batches, num_workers):
    """2 x 5 x 5 = 50: all; 3 ranks have 50 // 3 = 16 images, 4 batches of 4, so that 2 are left out."""
    seen = []
    for number in (0, 1):
        batches = []
        for rank in range(world_size):
            own = loader(rank, world_size, batch_size, num_workers)
            batches.append(epoch(own, number))
            assert len(batches[-1]) == len(own) == num_batches
        counts = collections.Counter(np.array(batches).flatten().tolist())
        twice = {image for image, count in counts.items() if count == 2}
        assert set(counts.values()) <= {1, 2} and twice <= {8, 32}  # which stand in for 7 and 31
        expected = world_size * batch_size * num_batches
        assert sum(counts.values()) == expected
        if expected == 50:
            assert set(counts) == set(range(50)) - {7, 31} and twice == {8, 32}
        seen.append(batches)
    assert seen[0] != seen[1]


@pytest.mark.slow
def test_workers_do_not_change_the_order_and_resume_repeats_it(loader):
    trained = loader(0, 2, 5, 2)
    epochs = [epoch(trained, number) for number in range(3)]
    assert epoch(loader(0, 2, 5, 0), 2) == epochs[2]
    assert len({str(batches) for batches in epochs}) == 3


def test_shards_give_what_the_folder_gives(shards, tmp_path):
    pipeline = [dict(type='mmcnv2.LoadRandomResizedCrop', size=32), dict(type='mmcnv2.PackUnlabelled')]
    kwargs = dict(pipeline=pipeline, indices=5)
    images = []
    for dataset in (UnlabelledImages(str(tmp_path), **kwargs), UnlabelledShards(SHARDS, shards, **kwargs)):
        np.random.seed(0)
        images.append(torch.stack([sample['inputs'] for sample in dataset]))
    assert torch.equal(*images)
    assert dataset[3]['data_samples'].img_path == f'{shards}/000000.tar/00000003_03.png'


def test_unreadable_images_are_skipped_and_counted(shards):
    dataset = UnlabelledShards(SHARDS, shards, pipeline=LOAD_AND_PACK, max_unreadable=1)
    assert red(dataset[7]) == red(dataset[8]) == 8 and dataset.num_unreadable == 1
    with pytest.raises(InputError, match=r'2 of 50 images .*000001\.tar/00000031_31\.png'):
        dataset[31]


@pytest.mark.slow
def test_missing_and_cut_shards_are_errors(shards):
    with pytest.raises(FileNotFoundError, match=r'No shard .*000003\.tar'):
        UnlabelledShards('{000000..000003}.tar', shards)
    dataset = UnlabelledShards(SHARDS, shards, pipeline=LOAD_AND_PACK)
    os.truncate(f'{shards}/000001.tar', 5000)
    with pytest.raises(ValueError, match=r'000001\.tar. is cut off: 5000 bytes'):
        UnlabelledShards(SHARDS, shards)
    # Cut off while a run goes on: an error, not an unreadable image.
    loader = DataLoader(dataset, batch_size=5, num_workers=1, collate_fn=pseudo_collate)
    with pytest.raises(ValueError, match=r'000001\.tar. is cut off: 5000 bytes'):
        list(loader)
    gc.collect()  # ends the workers now, not in the middle of another test
    assert dataset.num_unreadable == 1  # number 7


def test_arguments(shards):
    with pytest.raises(FileNotFoundError, match=r'No images in 1 shards.*000002\.tar.*\.tiff'):
        UnlabelledShards('000002.tar', shards, extensions=['.tiff'])
    with pytest.raises(ValueError, match=r"no list of images, got ann_file='list\.txt'"):
        UnlabelledShards(SHARDS, shards, ann_file='list.txt')
    subset = UnlabelledShards(['000002.tar', '000000.tar'], shards, pipeline=LOAD_AND_PACK).get_subset([9, 10, -1])
    assert [red(sample) for sample in subset] == [49, 0, 19]
