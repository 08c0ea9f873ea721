"""Data that the combinations share."""

import shutil

import pytest
from helpers.combinations import CLASSES

from mmcnv2.datasets import UnlabelledImages
from mmcnv2.datasets.shards import write_shards


@pytest.fixture(scope='session')
def data(toy_scenes, tmp_path_factory):
    """A folder with toy_scenes/, with the same images in two classes/, and in two shards/."""
    folder = tmp_path_factory.mktemp('combinations')
    (folder / 'toy_scenes').symlink_to(toy_scenes)
    for split in ('train', 'val'):
        images = sorted((toy_scenes / split).glob('*.jpg'))
        for number, name in enumerate(CLASSES):
            (folder / f'classes/{split}/{name}').mkdir(parents=True)
            for image in images[number :: len(CLASSES)]:
                shutil.copy(image, folder / f'classes/{split}/{name}')
    images = UnlabelledImages(data_prefix=str(toy_scenes / 'unlabelled'))
    paths = [images.get_data_info(i)['img_path'] for i in range(8)]
    write_shards(paths, str(toy_scenes / 'unlabelled'), str(folder / 'shards'), 4, float('inf'))
    return folder
