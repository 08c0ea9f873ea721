"""make_shards.py and index_shards.py, run as scripts; test_train_and_test.py trains on shards."""

import re
import tarfile

import numpy as np
import pytest
from helpers.processes import assert_refused, run_forked
from PIL import Image

from mmcnv2.datasets import UnlabelledShards

PIPELINE = [dict(type='mmcnv2.LoadRGBImage'), dict(type='mmcnv2.PackUnlabelled')]


@pytest.fixture
def images(tmp_path):
    """Eight images, whose red value is their number."""
    folder = tmp_path / 'images'
    (folder / 'a').mkdir(parents=True)
    for number in range(8):
        Image.new('RGB', (8, 8), (number, 0, 0)).save(folder / f'{"a/" if number < 4 else ""}{number}.png')
    return folder


def start(root, tool, *arguments):
    return run_forked(root, f'tools/dataset_tools/{tool}.py', *arguments)


def numbers(folder, shards):
    dataset = UnlabelledShards(shards, str(folder), pipeline=PIPELINE)
    return [int(sample['inputs'][0, 0, 0]) for sample in dataset]


def test_folder_to_shards(root, images, tmp_path):
    done = start(root, 'make_shards', images, tmp_path / 'out', '--max-images', 3, '--shuffle', 5)
    assert done.returncode == 0, done.stderr
    assert '8/8' in done.stdout and re.search(r'ETA: +\d+s', done.stdout)
    said = f"wrote 8 images: data_root='{tmp_path}/out', shards='{{000000..000002}}.tar'"
    assert done.stdout.splitlines()[-1] == said
    order = [4, 5, 6, 7, 0, 1, 2, 3]  # sorted: 4.png comes before a/0.png
    expected = [order[index] for index in np.random.default_rng(5).permutation(8)]
    assert numbers(tmp_path / 'out', '{000000..000002}.tar') == expected

    done = start(root, 'make_shards', images, tmp_path / 'out')
    assert done.returncode == 1
    assert done.stderr == f"error: '{tmp_path}/out' exists already: remove it, or name another folder\n"


def test_list_to_shards(root, images, tmp_path):
    (tmp_path / 'list.txt').write_text('a/3.png\n6.png\n# not this one\na/0.png 7\n')
    one_image = (images / 'a/3.png').stat().st_size / 1e6
    arguments = ['--list', tmp_path / 'list.txt', '--max-mb', 1.5 * one_image]
    done = start(root, 'make_shards', images, tmp_path / 'out', *arguments)
    assert done.returncode == 0, done.stderr
    assert numbers(tmp_path / 'out', ['000000.tar', '000001.tar']) == [3, 6, 0]
    assert numbers(tmp_path / 'out', '000000.tar') == [3, 6]


def test_shards_of_others_are_indexed(root, images, tmp_path):
    for name, files in {'x-0': ['7.png', 'a/1.png'], 'x-1': ['5.png']}.items():
        with tarfile.open(tmp_path / f'{name}.tar', 'w') as archive:
            for file in files:
                archive.add(images / file, file)
    done = start(root, 'index_shards', f'{tmp_path}/x-{{0..1}}.tar')
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith('\nindexed 3 samples\n')
    assert numbers(tmp_path, 'x-{0..1}.tar') == [7, 1, 5]

    done = start(root, 'index_shards', f'{tmp_path}/x-{{1..2}}.tar')
    assert_refused(done, f'{tmp_path}/x-2.tar')
