"""Fixtures shared by all tests. Tests that need the project's sample data skip where it is not there."""

import os
from pathlib import Path

import hypothesis
import pytest
import torch
from mmengine.registry import DefaultScope

# Before triton is imported, which decides then: without a GPU its kernels run under the interpreter.
if not torch.cuda.is_available():
    os.environ['TRITON_INTERPRET'] = '1'

from mmcnv2.toy_scenes import write_toy_scenes

ROOT = Path(__file__).resolve().parents[1]

# Small tensors gain nothing from a second thread, and the workers of pytest-xdist have a core each.
os.environ['OMP_NUM_THREADS'] = '1'
torch.set_num_threads(1)

# The same examples in every run.
hypothesis.settings.register_profile('mmcnv2', derandomize=True, deadline=None, max_examples=50, database=None)
hypothesis.settings.load_profile('mmcnv2')


def pytest_collection_modifyitems(items):
    """All of test_tools is slow. Files with slow tests come first: no worker of pytest-xdist waits for one then."""
    for item in items:
        if 'test_tools' in item.path.parts:
            item.add_marker('slow')
    slow = {item.path for item in items if item.get_closest_marker('slow')}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def default_scope(monkeypatch):
    """A runner sets the default scope for good; other tests should not see it."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())


@pytest.fixture(scope='session')
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope='session')
def samples() -> Path:
    """The folder of real samples beside the repository: imagenet1000 and coco200."""
    folder = ROOT.parent / 'shared/data'
    if not folder.is_dir():
        pytest.skip(f'{folder} is absent: it holds the real images this test needs')
    return folder


@pytest.fixture(scope='session')
def toy_scenes(tmp_path_factory) -> Path:
    """A few toy scenes: 16 unlabelled images, 8 to train on, 4 to evaluate on."""
    folder = tmp_path_factory.mktemp('data') / 'toy_scenes'
    write_toy_scenes(str(folder), num_unlabelled=16, num_train=8, num_val=4, workers=1)
    return folder
