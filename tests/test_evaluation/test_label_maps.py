"""Label maps that ``mmcnv2 test --out DIR`` writes."""

import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset
from mmengine.structures import PixelData
from mmseg.datasets import BaseSegDataset
from mmseg.structures import SegDataSample
from PIL import Image

from mmcnv2.evaluation.label_maps import LabelMaps
from mmcnv2.utils.errors import InputError


def dataset(folder, *names, **options):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return BaseSegDataset(data_prefix=dict(img_path=str(folder)), metainfo=dict(classes=('a', 'b')), **options)


def predict(metric, data):
    """A map of 2 x 3 for each image, filled with its index."""
    for i in range(len(data)):
        sample = SegDataSample(pred_sem_seg=PixelData(data=torch.full((1, 2, 3), i)), metainfo=data.get_data_info(i))
        metric.process(None, [sample.to_dict()])
    assert metric.evaluate(len(data)) == {}


def written(folder):
    return {str(path.relative_to(folder)): np.array(Image.open(path)) for path in folder.rglob('*.png')}


@pytest.mark.parametrize('reduced', [False, True])
def test_images_of_the_same_name_in_different_folders(tmp_path, reduced):
    """Labels count from 1 if the label 0 was reduced, as in mmseg."""
    names = ['a/1.jpg', 'a/b/1.jpg', 'c/1.jpg', '2.5.jpg']
    data = dataset(tmp_path / 'images', *names, reduce_zero_label=reduced)
    predict(LabelMaps(str(tmp_path / 'out'), data), data)
    maps = written(tmp_path / 'out')
    assert maps.keys() == {'a/1.png', 'a/b/1.png', 'c/1.png', '2.5.png'}
    assert sorted(one[0, 0] for one in maps.values()) == [i + reduced for i in range(4)]
    assert all(one.shape == (2, 3) and one.dtype == np.uint8 for one in maps.values())


def test_several_data_sets(tmp_path):
    """Their folders are kept, below the one that they share."""
    parts = [dataset(tmp_path / name / 'images', '1.jpg') for name in ('one', 'two')]
    data = ConcatDataset(parts)
    predict(LabelMaps(str(tmp_path / 'out'), data), data)
    assert written(tmp_path / 'out').keys() == {'one/images/1.png', 'two/images/1.png'}


def test_two_images_for_one_file(tmp_path):
    folder = tmp_path / 'images'
    data = ConcatDataset([dataset(folder, '1.jpg'), dataset(folder, '1.png', img_suffix='.png')])
    with pytest.raises(InputError, match=r'1\.jpg and .*1\.png would have the same file, .*out/1\.png'):
        LabelMaps(str(tmp_path / 'out'), data)


def test_a_model_without_label_maps(tmp_path):
    metric = LabelMaps(str(tmp_path / 'out'), dataset(tmp_path / 'images', '1.jpg'))
    with pytest.raises(InputError, match=r'predicts no label maps; --out FILE\.pkl takes all'):
        metric.process(None, [dict(pred_depth_map=dict(data=torch.zeros(1, 2, 2)))])
