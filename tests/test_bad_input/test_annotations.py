"""Annotation files of detection with every kind of damage: refused before training, or what mmdet makes of them."""

import json
import os
import re

import numpy as np
import pycocotools.mask
import pytest
from helpers.processes import assert_refused, run_forked
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from mmcnv2.preflight import check_annotations
from mmcnv2.utils.errors import InputError

CLASSES = ['ball', 'box']
HEIGHT, WIDTH = 48, 64
NAN, INF = float('nan'), float('inf')
SQUARE = np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order='F')
SQUARE[10:30, 5:25] = 1
RLE = pycocotools.mask.encode(SQUARE)['counts'].decode()
RLE_MASK = dict(size=[HEIGHT, WIDTH], counts=RLE)
RUNS = [5 * HEIGHT + 10, *[20, HEIGHT - 20] * 19, 20, 18 + (WIDTH - 25) * HEIGHT]
CONFIG = 'configs/toy/mask-rcnn_convnextv2-atto_toy-scenes.py'


def content():
    """Two images; the second annotation of the first image is the one that the cases damage."""

    def annotation(number, image, category, x, y):
        polygon = [x, y, x + 20, y, x + 20, y + 20, x, y + 20]
        return dict(
            id=number,
            image_id=image,
            category_id=category,
            bbox=[x, y, 20, 20],
            area=400,
            iscrowd=0,
            segmentation=[polygon],
        )

    return dict(
        images=[dict(id=i, file_name=f'{i}.png', height=HEIGHT, width=WIDTH) for i in (1, 2)],
        annotations=[annotation(1, 1, 3, 30, 20), annotation(2, 1, 7, 5, 10), annotation(3, 2, 3, 5, 10)],
        categories=[dict(id=3, name='ball'), dict(id=7, name='box')],
    )


def config(folder, **dataset):
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    ]
    cfg = dict(
        type='CocoDataset',
        data_root=str(folder),
        ann_file='a.json',
        data_prefix=dict(img='images'),
        metainfo=dict(classes=CLASSES),
        pipeline=pipeline,
    )
    return Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=dict(cfg, **dataset))))


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    for i in (1, 2):
        Image.new('RGB', (WIDTH, HEIGHT)).save(folder / f'{i}.png')
    return folder


@pytest.fixture
def data(tmp_path, images):
    """Writes the annotations, a dict or text, beside the images and returns the folder."""
    os.symlink(images, tmp_path / 'images')

    def write(annotations):
        text = annotations if isinstance(annotations, str) else json.dumps(annotations)
        (tmp_path / 'a.json').write_text(text)
        return tmp_path

    return write


def loaded(cfg):
    """Boxes, labels, ignore flags and mask areas of the first image, after the pipeline of mmdet."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        item = DATASETS.build(cfg.train_dataloader.dataset)[0]
    boxes = item['gt_bboxes'].numpy().astype(int).tolist()
    masks = item['gt_masks'].masks.sum(axis=(1, 2)).tolist()
    return boxes, item['gt_bboxes_labels'].tolist(), item['gt_ignore_flags'].tolist(), masks


def damaged(**changes):
    """The annotations with the second one changed; None removes a key."""
    result = content()
    result['annotations'][1] |= changes
    for key in [key for key, value in changes.items() if value is None]:
        del result['annotations'][1][key]
    return result


def without(part, key):
    result = content()
    del result[part][1][key]
    return result


def changed(part, number, **changes):
    result = content()
    result[part][number] |= changes
    return result


# ---- as they should be ----


def test_whole_file(data):
    cfg = config(data(content()))
    check_annotations(cfg, ('train', 'val'))
    assert loaded(cfg) == ([[30, 20, 50, 40], [5, 10, 25, 30]], [0, 1], [False, False], [400, 400])


FIRST = [30, 20, 50, 40]
KEPT = {
    'crowd is ignored': (damaged(iscrowd=1), [[5, 10, 25, 30]], [True], [400]),
    'crowd as RLE': (
        damaged(iscrowd=1, segmentation=dict(size=[48, 64], counts=RLE)),
        [[5, 10, 25, 30]],
        [True],
        [400],
    ),
    'RLE': (damaged(segmentation=RLE_MASK), [[5, 10, 25, 30]], [False], [400]),
    'run lengths': (damaged(segmentation=dict(size=[48, 64], counts=RUNS)), [[5, 10, 25, 30]], [False], [400]),
    'no iscrowd': (damaged(iscrowd=None), [[5, 10, 25, 30]], [False], [400]),
    'float box': (damaged(bbox=[5.5, 10.5, 20.25, 20.25]), [[5, 10, 25, 30]], [False], [400]),
    'beyond two edges': (damaged(bbox=[-10, -5, 200, 100]), [[-10, -5, 190, 95]], [False], [400]),
    'two points are ignored': (damaged(segmentation=[[5, 10, 25, 30]]), [[5, 10, 25, 30]], [True], [0]),
    'odd numbers are ignored': (damaged(segmentation=[[5, 10, 25, 30, 5, 10, 7]]), [[5, 10, 25, 30]], [True], [0]),
    'no numbers are ignored': (damaged(segmentation=[[]]), [[5, 10, 25, 30]], [True], [0]),
    'polygon half outside': (
        damaged(segmentation=[[-20, 10, 25, 10, 25, 30, -20, 30]]),
        [[5, 10, 25, 30]],
        [False],
        [500],
    ),
    'second polygon of two points': (
        damaged(segmentation=[[5, 10, 25, 10, 25, 30, 5, 30], [1, 1, 2, 2]]),
        [[5, 10, 25, 30]],
        [False],
        [400],
    ),
    'no width': (damaged(bbox=[5, 10, 0, 20]), [], [], []),
    'no height': (damaged(bbox=[5, 10, 20, 0]), [], [], []),
    'negative width': (damaged(bbox=[25, 10, -20, 20]), [], [], []),
    'negative height': (damaged(bbox=[5, 30, 20, -20]), [], [], []),
    'below a pixel': (damaged(bbox=[5, 10, 0.5, 20]), [], [], []),
    'no area': (damaged(area=0), [], [], []),
    'negative area': (damaged(area=-1), [], [], []),
    'outside right': (damaged(bbox=[64, 10, 20, 20]), [], [], []),
    'outside left': (damaged(bbox=[-30, 10, 20, 20]), [], [], []),
    'outside below': (damaged(bbox=[5, 48, 20, 20]), [], [], []),
    'outside far': (damaged(bbox=[1e9, 1e9, 20, 20]), [], [], []),
    'marked ignore': (damaged(ignore=1), [], [], []),
    'dropped needs no mask': (damaged(bbox=[5, 10, 0, 20], segmentation=[]), [], [], []),
}


@pytest.mark.parametrize('name', KEPT)
def test_what_mmdet_makes_of_it(data, name):
    annotations, boxes, ignored, areas = KEPT[name]
    cfg = config(data(annotations))
    check_annotations(cfg, ('train',))
    assert loaded(cfg) == ([FIRST, *boxes], [0, *[1] * len(boxes)], [False, *ignored], [400, *areas])


def test_images_without_boxes_are_left_out_of_training(data):
    annotations = content()
    annotations['annotations'].pop()
    for keeps_empty, length in ((False, 2), (True, 1)):
        cfg = config(data(annotations), filter_cfg=dict(filter_empty_gt=keeps_empty))
        check_annotations(cfg, ('train',))
        with DefaultScope.overwrite_default_scope('mmdet'):
            assert len(DATASETS.build(cfg.train_dataloader.dataset)) == length


@pytest.mark.parametrize('key', ['annotations', 'nothing'])
def test_files_of_test_images_have_no_annotations(data, key):
    annotations = dict(content(), annotations=[])
    annotations.pop(key, None)
    cfg = config(data(annotations), test_mode=True)
    check_annotations(cfg, ('train',))
    with DefaultScope.overwrite_default_scope('mmdet'):
        assert len(DATASETS.build(cfg.train_dataloader.dataset)) == 2


def test_classes_of_a_file(data, tmp_path):
    (tmp_path / 'classes.txt').write_text('ball\nbox\n')
    cfg = config(data(content()), metainfo=dict(classes=str(tmp_path / 'classes.txt')))
    check_annotations(cfg, ('train',))
    cfg.train_dataloader.dataset.metainfo.classes = 'ball'
    with pytest.raises(InputError, match=r'train_dataloader\.dataset\.metainfo\.classes must be a list .* got .ball.'):
        check_annotations(cfg, ('train',))


def test_categories_that_are_no_classes_are_left_out(data):
    annotations = content()
    annotations['categories'].append(dict(id=9, name='can'))
    annotations['annotations'][1]['category_id'] = 9
    cfg = config(data(annotations))
    check_annotations(cfg, ('train',))
    assert loaded(cfg)[0] == [FIRST]


# ---- refused ----


TEXT = json.dumps(content())
POLYGON = [5, 10, 25, 10, 25, 30, 5, 30]
REFUSED = {
    **{
        f'cut off at {n} %': (TEXT[: len(TEXT) * n // 100], r'no valid JSON, perhaps cut off')
        for n in (0, 1, 30, 60, 99)
    },
    'html': ('<html>404</html>', 'no valid JSON'),
    'nested too deep': ('[' * 100_000, 'no valid JSON'),
    'two objects': (TEXT + TEXT, 'no valid JSON'),
    'a list': ([1], 'expected an object with images, annotations, categories, got a list'),
    'a number': ('3', 'expected an object .* got a int'),
    'null': ('null', 'expected an object'),
    **{f'no {p}': ({k: v for k, v in content().items() if k != p}, f"'{p}' is missing or no list") for p in content()},
    **{f'{p} a dict': (dict(content(), **{p: {}}), f"'{p}' is missing or no list") for p in content()},
    **{f'{p} of text': (dict(content(), **{p: ['x']}), rf"{p}\[0\]: expected an object, got 'x'") for p in content()},
    'no images at all': (dict(content(), images=[]), 'image_id 1 is not among the images'),
    'no annotations at all': (dict(content(), annotations=[]), 'no annotation is left'),
    'no categories at all': (dict(content(), categories=[]), 'category_id 3 is not among the categories'),
    **{
        f'{part} without {key}': (without(part, key), rf"{part}\[1\].*'{key}' is missing")
        for part, keys in {
            'images': ('id', 'file_name', 'width', 'height'),
            'annotations': ('id', 'image_id', 'category_id', 'bbox', 'area'),
            'categories': ('id', 'name'),
        }.items()
        for key in keys
    },
    'width as text': (
        changed('images', 0, width='64'),
        r"images\[0\] \(id 1\): 'width' must be int, got '64'",
    ),
    'width of zero': (changed('images', 0, width=0), 'image 1: width and height must be positive'),
    'file name a number': (changed('images', 0, file_name=7), "'file_name' must be str, got 7"),
    'image twice': (changed('images', 1, id=1), 'images: the id 1 is there more than once'),
    'annotation twice': (damaged(id=1), 'annotations: the id 1 is there more than once'),
    'category twice': (changed('categories', 1, id=3), 'categories: the id 3 is there more than once'),
    'category name twice': (changed('categories', 1, name='ball'), "the name 'ball' is there more than once"),
    'other category name': (changed('categories', 1, name='Box'), r"lack 1 of the 2 classes .*'box'.*metainfo"),
    'other order': (dict(content(), categories=content()['categories'][::-1]), 'another order than the classes'),
    'unknown category': (damaged(category_id=8), 'annotation 2: category_id 8 is not among the categories'),
    'category as text': (damaged(category_id='3'), "'category_id' must be int, got '3'"),
    'category as bool': (damaged(category_id=True), "'category_id' must be int, got True"),
    'unknown image': (damaged(image_id=9), 'annotation 2: image_id 9 is not among the images'),
    **{
        f'box {value}': (damaged(bbox=value), r'annotation 2: bbox must be four finite numbers')
        for value in (
            [NAN, 10, 20, 20],
            [5, 10, NAN, 20],
            [5, 10, INF, 20],
            [5, -INF, 20, 20],
            [5, 10, 20],
            [],
            [5, 10, 20, 20, 1],
            ['5', 10, 20, 20],
            [None, 10, 20, 20],
            [[5], 10, 20, 20],
        )
    },
    'box as text': (damaged(bbox='5 10 20 20'), "'bbox' must be list"),
    'box as dict': (damaged(bbox=dict(x=5)), "'bbox' must be list"),
    'area NaN': (damaged(area=NAN), 'annotation 2: area must be finite'),
    'area as text': (damaged(area='400'), "'area' must be int or float, got '400'"),
    'no mask': (damaged(segmentation=None), r'annotation 2: segmentation is missing or empty.*with_mask=True'),
    'empty mask': (damaged(segmentation=[]), 'annotation 2: segmentation is missing or empty'),
    'mask as text': (damaged(segmentation='abc'), 'annotation 2: segmentation must be polygons or run lengths'),
    'flat polygon': (damaged(segmentation=POLYGON), 'segmentation must be lists of finite numbers'),
    'polygon with NaN': (damaged(segmentation=[[NAN, *POLYGON[1:]]]), 'lists of finite numbers'),
    'polygon of text': (damaged(segmentation=[['5', *POLYGON[1:]]]), 'lists of finite numbers'),
    'polygon of points': (damaged(segmentation=[[[5, 10], [25, 10], [25, 30]]]), 'lists of finite numbers'),
    'polygon that crashes': (damaged(segmentation=[[1e9, 0, 5, 5, 0, 1e9]]), 'farther outside than the image'),
    'RLE of another size': (damaged(segmentation=dict(size=[64, 48], counts=RLE)), r'size \[64, 48\] .* \[48, 64\]'),
    'RLE without size': (damaged(segmentation=dict(counts=RLE)), 'segmentation has size None'),
    **{
        f'RLE {name}': (damaged(segmentation=dict(size=[48, 64], counts=counts)), 'run lengths in counts must add up')
        for name, counts in {
            'cut off': RLE[:-4],
            'with more': RLE + '111',
            'empty': '',
            'of words': 'hello world',
            'unfinished': RLE + 'P' * 30,
            'none': None,
            'short runs': [100, 5],
            'long runs': [*RUNS, 5],
            'negative runs': [-5, HEIGHT * WIDTH + 5],
            'fractions': [0.5, HEIGHT * WIDTH - 0.5],
        }.items()
    },
    'missing image': (changed('images', 1, file_name='3.png'), r'image .*images/3\.png does not exist'),
    'missing folder': (changed('images', 1, file_name='sub/2.png'), r'image .*sub/2\.png does not exist'),
    'all empty': (
        dict(content(), annotations=[dict(a, bbox=[5, 10, 0, 0]) for a in content()['annotations']]),
        'no annotation is left that mmdet would train on',
    ),
}


@pytest.mark.parametrize('name', REFUSED)
def test_refused_before_training(data, name):
    annotations, message = REFUSED[name]
    folder = data(annotations)
    with pytest.raises(InputError) as info:
        check_annotations(config(folder), ('train',))
    assert str(folder / 'a.json') in str(info.value)
    assert re.search(message, str(info.value), flags=re.DOTALL), str(info.value)


def test_many_problems_are_counted_and_a_few_shown(data):
    annotations = content()
    annotations['annotations'] = [dict(annotations['annotations'][0], id=i, bbox=[NAN] * 4) for i in range(1000)]
    with pytest.raises(InputError, match=r'has 1000 problems') as info:
        check_annotations(config(data(annotations)), ('train',))
    assert str(info.value).count('bbox must be') == 8


def test_boxes_only_are_one_problem(data):
    """A detector with masks on data without: a matter of the config, not of each entry."""
    annotations = content()
    for annotation in annotations['annotations']:
        annotation['segmentation'] = []
    with pytest.raises(
        InputError, match=r'^\S+a\.json .* has boxes only, 3 without .* `mmcnv2 init coco FOLDER'
    ) as info:
        check_annotations(config(data(annotations)), ('train',))
    assert '\n' not in str(info.value)


def test_run_lengths_of_coco(data):
    """What the check adds up is what pycocotools writes, for masks of every density."""
    rng = np.random.default_rng(0)
    for density in (0, 0.01, 0.5, 0.99, 1):
        mask = np.asfortranarray(rng.random((HEIGHT, WIDTH)) < density, dtype=np.uint8)
        counts = pycocotools.mask.encode(mask)['counts'].decode()
        check_annotations(config(data(damaged(segmentation=dict(size=[48, 64], counts=counts)))), ('train',))


def test_real_annotations_pass(samples):
    classes = [
        c['name']
        for c in json.loads(next((samples / 'coco200/annotations').glob('*train*')).read_text())['categories']
    ]
    ann_file = next((samples / 'coco200/annotations').glob('*train*')).name
    folder = config(samples / 'coco200', ann_file=f'annotations/{ann_file}', data_prefix=dict(img='train2017'))
    folder.train_dataloader.dataset.metainfo.classes = classes
    check_annotations(folder, ('train',))


# ---- the real tool ----


@pytest.mark.slow
@pytest.mark.parametrize(
    ('damage', 'parts'),
    [
        ('box', ['instances_train.json', 'annotation 1: bbox must be four finite numbers']),
        ('image', ['train/', 'cannot identify image file']),
    ],
)
def test_tool(root, toy_scenes, tmp_path, damage, parts):
    """NaN in the file is found before, a damaged image when a worker reads it."""
    data = tmp_path / 'data'
    for folder in ('train', 'val'):
        (data / folder).mkdir(parents=True)
        for file in (toy_scenes / folder).iterdir():
            os.symlink(file, data / folder / file.name)
    annotations = json.loads((toy_scenes / 'annotations/instances_train.json').read_text())
    if damage == 'box':
        annotations['annotations'][0]['bbox'][0] = NAN
        annotations['annotations'][0]['id'] = 1
    else:
        for file in sorted((data / 'train').iterdir()):
            file.unlink()
            file.write_bytes(b'damaged')
    (data / 'annotations').mkdir()
    (data / 'annotations/instances_train.json').write_text(json.dumps(annotations))
    os.symlink(toy_scenes / 'annotations/instances_val.json', data / 'annotations/instances_val.json')
    options = [f'{split}_dataloader.dataset.data_root={data}/' for split in ('train', 'val')]
    done = run_forked(root, 'tools/train.py', CONFIG, '--work-dir', tmp_path, '--cfg-options', *options)
    assert_refused(done, *parts)


# ---- COCO's panoptic format ----


def panoptic_content():
    """One image with a ball and a floor."""
    segment = dict(id=1, category_id=3, bbox=[5, 10, 20, 20], area=400, iscrowd=0)
    return dict(
        images=[dict(id=1, file_name='1.jpg', height=HEIGHT, width=WIDTH)],
        annotations=[
            dict(image_id=1, file_name='1.png', segments_info=[segment, {**segment, 'id': 2, 'category_id': 7}])
        ],
        categories=[dict(id=3, name='ball', isthing=1), dict(id=7, name='floor', isthing=0)],
    )


def check_panoptic(folder, damage, files=('1.jpg', '1.png')):
    damaged = panoptic_content()
    damage(damaged)
    (folder / 'panoptic.json').write_text(json.dumps(damaged))
    for name in files:
        (folder / name).touch()
    dataset = dict(
        type='CocoPanopticDataset',
        data_root=str(folder),
        ann_file='panoptic.json',
        data_prefix=dict(img='', seg=''),
        metainfo=dict(classes=('ball', 'floor'), thing_classes=('ball',), stuff_classes=('floor',)),
        pipeline=[dict(type='LoadPanopticAnnotations')],
    )
    check_annotations(Config(dict(default_scope='mmdet', train_dataloader=dict(dataset=dataset))), ('train',))


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda c: c['annotations'][0].pop('segments_info'), "annotations[0]: 'segments_info' is missing"),
        (lambda c: c['categories'][0].pop('isthing'), "categories[0] (id 3): 'isthing' is missing"),
        (lambda c: c['annotations'][0].update(image_id=9), 'annotation of image 9: the image is not among the images'),
        (
            lambda c: c['annotations'][0]['segments_info'][1].update(category_id=8),
            'annotation of image 1: segment (id 2): category_id 8 is not among the categories',
        ),
        (lambda c: c['categories'].reverse(), 'categories have another order'),
        (lambda c: c['annotations'][0].update(segments_info=[]), 'no image has a segment'),
        (lambda c: c['images'][0].update(file_name='2.jpg'), 'image'),
    ],
)
def test_damaged_panoptic_annotations(damage, message, tmp_path):
    with pytest.raises(InputError, match=re.escape(message)):
        check_panoptic(tmp_path, damage)


def test_panoptic_annotations(tmp_path):
    check_panoptic(tmp_path, lambda content: None)
    (tmp_path / '1.png').unlink()
    with pytest.raises(InputError, match=re.escape('map of segments')):
        check_panoptic(tmp_path, lambda content: None, files=())
