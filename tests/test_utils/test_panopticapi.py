"""mmdet's panoptic metric and loading without panopticapi, against numbers computed by hand."""

import json
import sys

import numpy as np
import pytest
import torch
from mmengine.structures import PixelData
from PIL import Image

import mmcnv2  # noqa: F401  (before mmdet)
from mmcnv2.utils import panopticapi

# Two images of 4 x 6 pixels. Numbers of segments: 1 and 300 are things of class 0 (number 7 in the file), 70000 is
# stuff, class 1 (number 9); 0 is no label.
MAPS = [
    [[1, 1, 1, 300, 300, 300]] * 2 + [[70000] * 6] * 2,
    [[0, 0, 0, 0, 0, 0]] + [[70000] * 6] * 3,
]
CLASSES = {1: 7, 300: 7, 70000: 9}
METAINFO = dict(classes=('thing', 'stuff'), thing_classes=('thing',), stuff_classes=('stuff',))
INSTANCE_OFFSET = 1000  # mmdet: the map of a prediction has class + 1000 * number of the instance


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """The data set: COCO's panoptic format, with PNG files."""
    path = tmp_path_factory.mktemp('panoptic')
    content = dict(
        images=[dict(id=i, file_name=f'{i}.jpg', height=4, width=6) for i in (1, 2)],
        annotations=[],
        categories=[dict(id=7, name='thing', isthing=1), dict(id=9, name='stuff', isthing=0)],
    )
    for i, rows in enumerate(MAPS, 1):
        numbers = np.array(rows)
        Image.fromarray(panopticapi.id2rgb(numbers)).save(path / f'{i}.png')
        Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(path / f'{i}.jpg')
        segments = []
        for number in np.unique(numbers[numbers > 0]).tolist():
            y, x = np.nonzero(numbers == number)
            box = [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]
            area = int((numbers == number).sum())
            segments.append(
                dict(id=number, category_id=CLASSES[number], iscrowd=0, area=area, bbox=[int(side) for side in box])
            )
        content['annotations'].append(dict(image_id=i, file_name=f'{i}.png', segments_info=segments))
    (path / 'panoptic.json').write_text(json.dumps(content))
    return path


def dataset_of(folder):
    from mmdet.datasets import CocoPanopticDataset

    pipeline = [
        dict(type='mmdet.LoadImageFromFile'),
        dict(type='mmdet.LoadPanopticAnnotations'),
        dict(
            type='mmdet.PackDetInputs',
            meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'seg_map_path', 'segments_info'),
        ),
    ]
    prefix = dict(img='', seg='')
    return CocoPanopticDataset(
        ann_file='panoptic.json', data_root=str(folder), data_prefix=prefix, metainfo=METAINFO, pipeline=pipeline
    )


def quality(folder, predictions, **settings):
    """The metric of maps of class + 1000 * instance, one for each image."""
    from mmdet.evaluation import CocoPanopticMetric

    metric = CocoPanopticMetric(**settings)
    metric.dataset_meta = METAINFO
    samples = []
    for sample, prediction in zip(dataset_of(folder), predictions, strict=True):
        sample = sample['data_samples']
        sample.pred_panoptic_seg = PixelData(sem_seg=torch.tensor(prediction)[None])
        samples.append(sample.to_dict())
    metric.process({}, samples)
    return metric.evaluate(len(samples))


A, B, STUFF, NOTHING = 0 + INSTANCE_OFFSET, 0 + 2 * INSTANCE_OFFSET, 1, 2
PERFECT = [
    [[A, A, A, B, B, B]] * 2 + [[STUFF] * 6] * 2,
    [[NOTHING] * 6] + [[STUFF] * 6] * 3,
]
# The second thing is missing: its six pixels are given to the first, of which then 6 of 12 are right: IoU 0.5, and a
# match takes more. So the class has 0 matches, 1 prediction and 2 labels without one: PQ 0. Stuff of the first image
# loses 3 of 12 pixels: IoU 9 / 12 = 0.75; that of the second is right: PQ (0.75 + 1) / 2 = 0.875.
WRONG = [
    [[A] * 6] * 2 + [[NOTHING] * 3 + [STUFF] * 3, [STUFF] * 6],
    PERFECT[1],
]
# One thing is right; of the other 4 of 6 pixels are found, IoU 4 / 6: (1 + 2 / 3) / 2 = 0.8333. Stuff is missing in
# the second image: one match of IoU 1 and one label without, 1 / (1 + 0.5) = 0.6667. The mean of both is 0.75.
DAMAGED = [
    [[A, A, A, B, B, NOTHING]] * 2 + [[STUFF] * 6] * 2,
    [[NOTHING] * 6] * 4,
]
EXPECTED = {
    'perfect': (PERFECT, dict(PQ=100, SQ=100, RQ=100, PQ_th=100, PQ_st=100)),
    'wrong': (WRONG, dict(PQ=43.75, PQ_th=0, PQ_st=87.5, SQ_st=87.5, RQ_st=100)),
    'damaged': (DAMAGED, dict(PQ=75, PQ_th=250 / 3, PQ_st=200 / 3, SQ_st=100, RQ_st=200 / 3, RQ_th=100)),
}


@pytest.mark.parametrize('case', EXPECTED)
@pytest.mark.parametrize('with_file', [True, False], ids=['labels of the file', 'labels of the data set'])
def test_panoptic_quality(case, with_file, folder):
    """In both of mmdet's ways: all at the end from files, or image by image."""
    predictions, expected = EXPECTED[case]
    settings = dict(ann_file=str(folder / 'panoptic.json')) if with_file else {}
    results = quality(folder, predictions, nproc=1, seg_prefix=str(folder), **settings)
    assert {key: results[f'coco_panoptic/{key}'] for key in expected} == pytest.approx(expected)


def test_labels_are_loaded(folder):
    sample = dataset_of(folder)[0]['data_samples']
    assert sample.gt_sem_seg.sem_seg[0].tolist() == [[0] * 6] * 2 + [[1] * 6] * 2
    masks = sample.gt_instances.masks.masks
    assert [mask.tolist() for mask in masks] == [
        [[1, 1, 1, 0, 0, 0]] * 2 + [[0] * 6] * 2,
        [[0, 0, 0, 1, 1, 1]] * 2 + [[0] * 6] * 2,
    ]


def test_colours_are_those_of_the_format():
    """COCO: number = R + 256 G + 256² B. 70000 = 112 + 256 * 17 + 65536."""
    assert panopticapi.id2rgb(70000) == [112, 17, 1]
    assert panopticapi.rgb2id([112, 17, 1]) == 70000
    numbers = np.array([[0, 255, 256], [65535, 70000, 256**3 - 1]])
    colours = panopticapi.id2rgb(numbers)
    assert colours.shape == (2, 3, 3) and colours.dtype == np.uint8
    assert (panopticapi.rgb2id(colours) == numbers).all()


def test_one_that_is_installed_is_left_alone(tmp_path, monkeypatch):
    for name in ('panopticapi', 'panopticapi.utils', 'panopticapi.evaluation'):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / 'panopticapi').mkdir()
    (tmp_path / 'panopticapi/__init__.py').write_text('theirs = True')
    monkeypatch.syspath_prepend(tmp_path)
    panopticapi.provide_panopticapi()
    import panopticapi as found

    assert found.theirs
