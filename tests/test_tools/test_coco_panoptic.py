"""tools/coco_panoptic.py on labels made by hand."""

import json
import runpy

import numpy as np
import pytest
from helpers.configs import ROOT
from PIL import Image

from mmcnv2.utils.panopticapi import rgb2id

TOOL = runpy.run_path(str(ROOT / 'tools/coco_panoptic.py'))


@pytest.fixture
def source(tmp_path):
    """One image of 4 x 8 pixels: two instances of a class that overlap, a crowd, stuff, and what has no label."""
    boxes = [[0, 0, 4, 2], [2, 0, 2, 1], [6, 0, 2, 2]]  # x, y, width, height
    annotations = [
        dict(id=i, image_id=1, category_id=18, iscrowd=0, bbox=box, area=box[2] * box[3],
             segmentation=[[box[0], box[1], box[0] + box[2], box[1], box[0] + box[2], box[1] + box[3],
                            box[0], box[1] + box[3]]])
        for i, box in enumerate(boxes, 1)
    ]  # fmt: skip
    annotations[2].update(iscrowd=1, segmentation=dict(size=[4, 8], counts=[24, 2, 2, 2, 2]))
    content = dict(
        images=[dict(id=1, file_name='one.jpg', height=4, width=8)],
        annotations=annotations,
        categories=[dict(id=1, name='person'), dict(id=18, name='dog')],
    )
    (tmp_path / 'annotations').mkdir()
    (tmp_path / 'annotations/instances_val2017.json').write_text(json.dumps(content))
    (tmp_path / 'semantic/val2017').mkdir(parents=True)
    (tmp_path / 'semantic/classes.txt').write_text('person\ndog\ngrass\n')
    labels = np.full((4, 8), 2, np.uint8)
    labels[:2, :4] = labels[:2, 6:] = 1  # two dogs, a crowd of dogs
    labels[3, 0] = 255
    Image.fromarray(labels).save(tmp_path / 'semantic/val2017/one.png')
    return tmp_path


def test_segments(source, tmp_path):
    assert TOOL['convert'](source, tmp_path / 'out', 'val2017') == 1
    content = json.loads((tmp_path / 'out/panoptic_val2017.json').read_text())
    assert [(c['id'], c['isthing']) for c in content['categories']] == [(1, 1), (2, 1), (3, 0)]
    (annotation,) = content['annotations']
    # The small dog is cut out of the large one; the crowd (4 pixels) and label 255 have no segment.
    assert [(s['category_id'], s['area'], s['bbox']) for s in annotation['segments_info']] == [
        (2, 6, [0, 0, 4, 2]),
        (2, 2, [2, 0, 2, 1]),
        (3, 32 - 8 - 4 - 1, [0, 0, 8, 4]),
    ]
    numbers = rgb2id(np.array(Image.open(tmp_path / 'out/panoptic_val2017' / annotation['file_name'])))
    assert numbers.tolist() == [
        [1, 1, 2, 2, 3, 3, 0, 0],
        [1, 1, 1, 1, 3, 3, 0, 0],
        [3, 3, 3, 3, 3, 3, 3, 3],
        [0, 3, 3, 3, 3, 3, 3, 3],
    ]


def test_no_label_maps(source, tmp_path):
    (source / 'semantic/val2017/one.png').unlink()
    with pytest.raises(ValueError, match='expected label maps, PNG files named as the images, found none'):
        TOOL['convert'](source, tmp_path / 'out', 'val2017')
