"""The sampler and the dataset that seed each sample by its place."""

import importlib
import pickle
import shutil
import threading
from types import SimpleNamespace

import pytest
import torch
from helpers.small_run import SmallModel, build_runner
from mmcv.transforms import BaseTransform
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS, TRANSFORMS
from torch.utils.data import Dataset

from mmcnv2.resuming import SeededDataset, SeededSampler, watching
from mmcnv2.resuming.sampler import SeededIndex


def sampler(rank=0, world_size=1, monkeypatch=None, **kwargs):
    if monkeypatch:
        for module in ('mmengine.dataset.sampler', 'mmcnv2.resuming.sampler'):
            monkeypatch.setattr(f'{module}.get_dist_info', lambda: (rank, world_size))
    config = dict(type='DefaultSampler', shuffle=True) | kwargs
    return SeededSampler(range(10), config, seed=7)


def pairs(indices):
    return [(int(index), index.seed) for index in indices]


def test_seed_is_that_of_run_epoch_and_place():
    one = sampler()
    one.set_epoch(3)
    found = pairs(one)
    assert sorted(index for index, _ in found) == list(range(10))
    assert [seed for _, seed in found] == [(7, 3, place) for place in range(10)]


def test_processes_together_read_what_one_would(monkeypatch):
    """The same samples with the same seeds: of two processes, each has every second one."""
    alone = pairs(sampler())
    parts = [pairs(sampler(rank, 2, monkeypatch)) for rank in (0, 1)]
    assert parts == [alone[0::2], alone[1::2]]


@pytest.mark.parametrize('kind', ['DefaultSampler', 'InfiniteSampler'])
def test_skipping_leaves_out_the_first_once(kind):
    def first(one, count):
        return [pair for pair, _ in zip(pairs_lazily(one), range(count), strict=False)]

    def pairs_lazily(one):
        return ((int(index), index.seed) for index in one)

    whole, late = sampler(type=kind), sampler(type=kind)
    late.skip(4)
    assert first(late, 6) == first(whole, 10)[4:]
    if kind == 'DefaultSampler':
        assert first(late, 10) == first(whole, 10)


def test_index_is_a_number_and_keeps_its_seed_on_the_way_to_a_worker():
    index = pickle.loads(pickle.dumps(SeededIndex(4, (1, 2, 3))))
    assert index == 4 and [10, 11, 12, 13, 14][index] == 14
    assert index.seed == (1, 2, 3)


@DATASETS.register_module()
class Files(Dataset):
    """Reads numbers from files of a folder, and adds a random one."""

    def __init__(self, data_root):
        self.data_root = str(data_root)
        self.metainfo = dict(classes=('a',))

    def __len__(self):
        return 3

    def get_data_info(self, index):
        return dict(img_path=f'{self.data_root}/{index}')

    def __getitem__(self, index):
        with open(self.get_data_info(index)['img_path']) as file:
            return float(file.read()) + torch.rand(()).item()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'data').mkdir()
    for i in range(3):
        (tmp_path / f'data/{i}').write_text(str(i))
    return tmp_path / 'data'


def test_dataset_is_the_other_one_but_seeded(folder):
    dataset = SeededDataset(dict(type='Files', data_root=folder), num_workers=0)
    assert len(dataset) == 3 and dataset.metainfo == dict(classes=('a',))
    first = dataset[SeededIndex(1, (0, 0, 5))]
    torch.rand(3)
    assert dataset[SeededIndex(1, (0, 0, 5))] == first != dataset[SeededIndex(1, (0, 0, 6))]
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy[SeededIndex(1, (0, 0, 5))] == first


def test_without_a_seed_the_generators_are_left_alone(folder):
    """A hook that draws pictures asks with plain numbers."""
    dataset = SeededDataset(dict(type='Files', data_root=folder), num_workers=0)
    torch.manual_seed(3)
    expected = 1 + torch.rand(()).item()
    torch.manual_seed(3)
    assert dataset[1] == expected


def test_vanished_folder_is_waited_for(folder, monkeypatch):
    """It comes back while the second look is waited for, and the sample is that of its seed."""
    dataset = SeededDataset(dict(type='Files', data_root=folder), num_workers=0)
    expected = dataset[SeededIndex(2, (0, 0, 0))]
    pauses = []
    gone = folder.with_name('gone')
    shutil.move(folder, gone)

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            shutil.move(gone, folder)

    monkeypatch.setattr(watching.time, 'sleep', pause)
    assert dataset[SeededIndex(2, (0, 0, 0))] == expected
    assert pauses == [watching.PAUSE] * 2


def test_vanished_folder_is_not_waited_for_without_end(folder, monkeypatch):
    dataset = SeededDataset(dict(type='Files', data_root=folder), num_workers=0)
    shutil.rmtree(folder)
    now = [0.0]
    monkeypatch.setattr(watching.time, 'monotonic', lambda: now[0])
    monkeypatch.setattr(watching.time, 'sleep', lambda seconds: now.__setitem__(0, now[0] + seconds))
    with pytest.raises(FileNotFoundError, match=f'{folder}/1'):
        dataset[1]
    assert now[0] > watching.PATIENCE


def test_missing_file_is_an_error_at_once(folder):
    (folder / '1').unlink()
    dataset = SeededDataset(dict(type='Files', data_root=folder), num_workers=0)
    with pytest.raises(FileNotFoundError, match=f'{folder}/1'):
        dataset[1]
    assert dataset.files_in_progress() == [f'{folder}/1']


def test_what_is_being_read(folder):
    """Seen from another thread while a sample is read; nothing once it is read."""
    dataset = SeededDataset(dict(type='Files', data_root=folder), num_workers=0)
    seen = []

    class Slow(Files):
        def __getitem__(self, index):
            thread = threading.Thread(target=lambda: seen.extend(dataset.files_in_progress()))
            thread.start()
            thread.join()
            return index

    dataset.dataset = Slow(folder)
    assert dataset[2] == 2
    assert seen == [f'{folder}/2'] and dataset.files_in_progress() == []


# ---- hooks that change the data set ----


@TRANSFORMS.register_module()
class Constant(BaseTransform):
    """Gives the same input for every sample."""

    def __init__(self, value):
        self.value = value

    def transform(self, results):
        return dict(inputs=torch.full((4,), float(self.value)))


@DATASETS.register_module()
class WithPipeline(BaseDataset):
    """12 samples that a pipeline makes, unless ``skip_type_keys`` names its kind."""

    skipped = ()

    def load_data_list(self):
        return [{}] * 12

    def update_skip_type_keys(self, keys):
        self.skipped = keys

    def __getitem__(self, index):
        return dict(inputs=torch.full((4,), 2.0)) if 'Constant' in self.skipped else super().__getitem__(index)


SWITCHED = [dict(type='Constant', value=2)]
SWITCHES = {
    'mmdet.PipelineSwitchHook': dict(switch_epoch=1, switch_pipeline=SWITCHED),
    'mmdet.YOLOXModeSwitchHook': dict(num_last_epochs=1, skip_type_keys=('Constant',)),
    'mmpretrain.SwitchRecipeHook': dict(schedule=[dict(action_epoch=2, train_pipeline=SWITCHED)]),
}


@pytest.mark.parametrize('workers', [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ('name', 'wrapped'),
    [
        *((name, None) for name in SWITCHES),
        ('mmpretrain.SwitchRecipeHook', 'RepeatDataset'),
        ('mmdet.PipelineSwitchHook', 'RepeatDataset'),
        ('mmdet.PipelineSwitchHook', 'ConcatDataset'),
    ],
)
@pytest.mark.parametrize('resumed_at', [None, 8], ids=['whole', 'resumed'])
def test_hooks_that_switch_the_pipeline(tmp_path, monkeypatch, workers, name, wrapped, resumed_at):
    """From the second of three epochs on, each of 6 iterations; also where a run goes on in the second."""
    importlib.import_module(name.partition('.')[0])
    monkeypatch.setattr(SmallModel, 'bbox_head', SimpleNamespace(), raising=False)
    seen = {}

    @HOOKS.register_module(force=True)
    class Seen(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen[runner.iter + 1] = torch.stack(data_batch['inputs']).unique().tolist()

    dataset = dict(type='WithPipeline', pipeline=[dict(type='Constant', value=1)])
    if wrapped == 'RepeatDataset':
        dataset = dict(type='RepeatDataset', times=1, dataset=dataset)
    if wrapped == 'ConcatDataset':
        dataset = dict(type='ConcatDataset', datasets=[dict(dataset, indices=6)] * 2)
    options = dict(dataloader=dict(dataset=dataset, num_workers=workers, persistent_workers=workers > 0))
    options['hooks'] = [dict(type=name, **SWITCHES[name]), dict(type='Seen')]
    if resumed_at:
        build_runner(tmp_path / 'first', **options).train()
        seen.clear()
        options['resume_from'] = tmp_path / f'first/iter_{resumed_at}.pth'
    build_runner(tmp_path / 'run', **options).train()
    first = (resumed_at or 0) + 1
    assert seen == {iteration: [1.0] if iteration <= 6 else [2.0] for iteration in range(first, 19)}
