"""Which samples, classes and windows are read, on both sides, and what is refused."""

import json

import numpy as np
import pytest

from mmcnv2.evaluation.features import Sample
from mmcnv2.evaluation.labelled_samples import (
    choose_labels,
    object_window,
    read_class_folders,
    read_coco,
    read_lists,
)
from mmcnv2.utils.errors import InputError, MissingFileError


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return str(folder)


def named(data, side):
    return [(sample.path, data.classes[sample.label]) for sample in side]


# ---- class folders ----


def test_class_folders(tmp_path):
    train = touch(tmp_path / 'train', 'dog/1.jpg', 'cat/deep/2.png', 'bird/3.jpg', 'cat/notes.txt')
    val = touch(tmp_path / 'val', 'cat/4.jpg', 'dog/5.JPEG')
    data = read_class_folders(train, val)
    assert data.classes == ['bird', 'cat', 'dog']
    expected = [('bird/3.jpg', 'bird'), ('cat/deep/2.png', 'cat'), ('dog/1.jpg', 'dog')]
    assert named(data, data.train) == [(f'{train}/{path}', name) for path, name in expected]
    assert named(data, data.val) == [(f'{val}/cat/4.jpg', 'cat'), (f'{val}/dog/5.JPEG', 'dog')]
    assert data.notes == ()
    assert read_class_folders(train, f'{train}/../train').notes[0].startswith('3 images are both')


def test_a_class_in_val_only(tmp_path):
    train = touch(tmp_path / 'train', 'dog/1.jpg', 'cat/2.jpg')
    val = touch(tmp_path / 'val', 'dog/3.jpg', 'wolf/4.jpg')
    with pytest.raises(InputError, match=f'{val} has 1 classes that {train} lacks: wolf'):
        read_class_folders(train, val)


def test_images_outside_class_folders(tmp_path):
    train = touch(tmp_path, 'dog/1.jpg', '2.jpg')
    with pytest.raises(InputError, match=r"outside class folders, e\.g\. '.*/2\.jpg': expected DIR/CLASS/IMAGE"):
        read_class_folders(train, train)


def test_one_class(tmp_path):
    train = touch(tmp_path, 'dog/1.jpg')
    with pytest.raises(InputError, match="one class, 'dog', and at least 2"):
        read_class_folders(train, train)


def test_missing_folder(tmp_path):
    with pytest.raises(MissingFileError, match='No folder'):
        read_class_folders(str(tmp_path / 'absent'), str(tmp_path))


# ---- list files ----


def test_lists(tmp_path):
    """Numbers are classes in the order of their values; a path may have blanks."""
    (tmp_path / 'train.txt').write_text('# ImageNet\na/1.jpg 10\nmy photo.jpg 9\n\n')
    (tmp_path / 'val.txt').write_text('b.jpg 9\n')
    data = read_lists(str(tmp_path / 'train.txt'), str(tmp_path / 'val.txt'), train_root='/images')
    assert data.classes == ['9', '10']
    assert named(data, data.train) == [('/images/a/1.jpg', '10'), ('/images/my photo.jpg', '9')]
    assert named(data, data.val) == [(f'{tmp_path}/b.jpg', '9')]


@pytest.mark.parametrize(
    ('text', 'message'),
    [('1.jpg', r'train\.txt, line 1: expected "PATH LABEL", got \'1\.jpg\''), ('# none\n', 'names no images')],
)
def test_bad_lists(tmp_path, text, message):
    (tmp_path / 'train.txt').write_text(text)
    with pytest.raises(InputError, match=message):
        read_lists(str(tmp_path / 'train.txt'), str(tmp_path / 'train.txt'))
    with pytest.raises(MissingFileError, match=r'absent\.txt'):
        read_lists('absent.txt', 'absent.txt')


# ---- objects of COCO files ----


def coco(folder, num_images=20, file='coco.json', **changes):
    """Two objects in each image of 100 x 80, a cat and a dog, with a crowd and a small one besides."""
    images = [dict(id=i, file_name=f'{i}.jpg', width=100, height=80) for i in range(num_images)]
    annotations = []
    for i in range(num_images):
        for category, box, more in (
            (1, [10, 20, 30, 20], {}),
            (2, [50, 40, 20, 20], {}),
            (1, [0, 0, 90, 70], dict(iscrowd=1)),
            (2, [0, 0, 50, 10], {}),
        ):
            annotations.append(dict(id=len(annotations), image_id=i, category_id=category, bbox=box, **more))
    content = dict(images=images, annotations=annotations, categories=[dict(id=1, name='cat'), dict(id=2, name='dog')])
    (folder / file).write_text(json.dumps(content | changes))
    return str(folder / file)


def test_objects_are_split_by_image(tmp_path):
    data = read_coco(coco(tmp_path), '/images', val_share=0.3)
    sides = [{sample.path for sample in side} for side in (data.train, data.val)]
    assert sides[0].isdisjoint(sides[1])
    assert sides[0] | sides[1] == {f'/images/{i}.jpg' for i in range(20)}
    assert (len(data.train), len(data.val)) == (28, 12)  # of 14 and 6 images
    assert data.classes == ['cat', 'dog']
    assert data.notes == ('40 objects left out: crowds, ignored, or a side of less than 16 pixels',)
    again, other = (read_coco(coco(tmp_path), '/images', val_share=0.3, seed=seed) for seed in (0, 1))
    assert again == data != other


def test_windows(tmp_path):
    """1.2 times the longer side: 36 around (25, 30), 24 around (60, 50)."""
    data = read_coco(coco(tmp_path), '/images')
    windows = {data.classes[sample.label]: sample.window for sample in data.train}
    assert windows == dict(cat=(12, 7, 36, 36), dog=(38, 48, 24, 24))


@pytest.mark.parametrize(
    ('box', 'window'),
    [
        ((0, 0, 20, 10), (0, 0, 24, 24)),  # moved into the image
        ((85, 65, 15, 15), (62, 82, 18, 18)),
        ((0, 10, 100, 20), (0, 0, 80, 100)),  # 120 pixels: cut to the image
        ((50, 40, 0.2, 0.2), (40, 50, 1, 1)),
    ],
)
def test_windows_lie_inside_the_image(box, window):
    assert object_window(box, height=80, width=100) == window


def test_other_images_to_test_on(tmp_path):
    train = coco(tmp_path)
    data = read_coco(train, '/images', coco(tmp_path, 5, 'val.json'), '/val')
    assert len(data.train) == 40 and {sample.path for sample in data.val} == {f'/val/{i}.jpg' for i in range(5)}
    same = read_coco(train, '/images', coco(tmp_path, 5, 'val.json'))
    assert (
        same.notes[-1].startswith('5 images are both learnt from and tested on') and '/images/0.jpg' in same.notes[-1]
    )


def test_classes_on_one_side_only(tmp_path):
    objects = [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 4)]
    annotations = [
        dict(id=i, image_id=image, category_id=category, bbox=[0, 0, 30, 30])
        for i, (image, category) in enumerate(objects)
    ]
    categories = [dict(id=i, name=name) for i, name in enumerate(['', 'cat', 'dog', 'wolf', 'fox'])]
    data = read_coco(coco(tmp_path, 2, annotations=annotations, categories=categories), '/images', val_share=0.5)
    assert data.classes == ['cat', 'dog']
    assert data.notes[1] == '2 classes left out, whose objects are on one side only: fox, wolf'
    categories[2]['name'] = 'cat'
    with pytest.raises(InputError, match='1 classes have objects both among'):
        read_coco(coco(tmp_path, 2, annotations=annotations, categories=categories), '/images', val_share=0.5)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{', 'is no JSON file'),
        ('[]', "not in COCO's format: expected an object, got a list"),
        ('{"images": []}', "not in COCO's format: KeyError: 'categories'"),
        ('{"images": [], "annotations": [], "categories": []}', 'no boxes of at least 16 pixels'),
    ],
)
def test_bad_annotation_files(tmp_path, text, message):
    (tmp_path / 'coco.json').write_text(text)
    with pytest.raises(InputError, match=message):
        read_coco(str(tmp_path / 'coco.json'), '/images')


# ---- few labels ----


def test_labels_per_class():
    samples = [Sample(f'{i}.jpg', label=i % 3) for i in range(30)] + [Sample('rare.jpg', label=3)]
    chosen = choose_labels(samples, 4, seed=0)
    assert np.bincount([samples[i].label for i in chosen]).tolist() == [4, 4, 4, 1]
    assert len(set(chosen)) == 13
    assert choose_labels(samples, 4, seed=0).tolist() == chosen.tolist() != choose_labels(samples, 4, seed=1).tolist()
