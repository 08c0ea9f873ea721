"""Label maps of segmentation of every kind and damage: what is read is what mmseg reads, the rest is refused."""

import io
import os
import re

import numpy as np
import pytest
import torch
from helpers.damage import flipped_bits
from helpers.processes import assert_refused, run_forked
from hypothesis import given
from mmengine.config import Config
from mmengine.registry import TRANSFORMS, DefaultScope
from PIL import Image

from mmcnv2.datasets import LoadLabelMap
from mmcnv2.preflight import check_annotations
from mmcnv2.utils.errors import InputError

HEIGHT, WIDTH = 12, 20
LABELS = (np.indices((HEIGHT, WIDTH)).sum(axis=0) % 7).astype(np.uint8)
CONFIG = 'configs/toy/upernet_convnextv2-atto_toy-scenes.py'


def item(path, **changes):
    """What a dataset of mmseg hands to its pipeline once the image is read."""
    given = dict(seg_map_path=str(path), ori_shape=(HEIGHT, WIDTH), reduce_zero_label=False, label_map=None)
    return {**given, 'seg_fields': [], **changes}


def read(path, num_classes=7, **changes):
    results = LoadLabelMap(num_classes)(item(path, **changes))
    assert results['seg_fields'] == ['gt_seg_map'] and results['gt_seg_map'].dtype == np.uint8
    return results['gt_seg_map']


def mmseg_reads(path, **changes):
    with DefaultScope.overwrite_default_scope('mmseg'):
        return TRANSFORMS.build(dict(type='mmseg.LoadAnnotations'))(item(path, **changes))['gt_seg_map']


def as_palette(labels):
    image = Image.fromarray(labels, mode='P')
    image.putpalette([value for label in range(7) for value in (label * 30, 255 - label, 7)])
    return image


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


PNG = encoded(Image.fromarray(LABELS), 'PNG')

# ---- read ----


@pytest.mark.parametrize(
    ('kind', 'palette'),
    [('PNG', False), ('PNG', True), ('TIFF', False), ('BMP', False), ('BMP', True), ('GIF', False), ('GIF', True)],
)
def test_one_channel_of_8_bits(tmp_path, kind, palette):
    """A palette says how labels are shown: its indices are the labels."""
    (as_palette(LABELS) if palette else Image.fromarray(LABELS)).save(tmp_path / 'a.dat', kind)
    np.testing.assert_array_equal(read(tmp_path / 'a.dat'), LABELS)
    np.testing.assert_array_equal(mmseg_reads(tmp_path / 'a.dat'), LABELS)


def test_one_bit_is_two_labels(tmp_path):
    Image.fromarray(LABELS > 3).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(read(tmp_path / 'a.png', 2), LABELS > 3)


def test_255_is_ignored(tmp_path):
    labels = LABELS.copy()
    labels[3:6] = 255
    Image.fromarray(labels).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(read(tmp_path / 'a.png'), labels)


@pytest.mark.parametrize(('dtype', 'kind'), [('u2', 'PNG'), ('u2', 'TIFF'), ('>u2', 'TIFF'), ('i4', 'TIFF')])
def test_wide_files_whose_labels_fit_8_bits(tmp_path, dtype, kind):
    Image.fromarray(LABELS.astype(dtype)).save(tmp_path / 'a.dat', kind)
    np.testing.assert_array_equal(read(tmp_path / 'a.dat'), LABELS)


def test_own_label_map_comes_first(tmp_path):
    """0 and 255 become 0 and 1; after that the dataset's renaming is mmseg's; 300 and 65535 need no 8 bits."""
    stored = np.where(LABELS > 3, 255, 0).astype(np.uint8)
    Image.fromarray(stored).save(tmp_path / 'a.png')
    by_text = Config(dict(step=dict(type='LoadLabelMap', num_classes=2)))
    by_text.merge_from_dict({'step.label_map.255': 1})  # --cfg-options
    assert by_text.step.label_map == {'255': 1}
    for label_map in ({255: 1}, by_text.step.label_map):
        load = LoadLabelMap(2, label_map)
        np.testing.assert_array_equal(load(item(tmp_path / 'a.png'))['gt_seg_map'], LABELS > 3)
        swapped = load(item(tmp_path / 'a.png', label_map={0: 1, 1: 0}))['gt_seg_map']
        np.testing.assert_array_equal(swapped, LABELS <= 3)
        reduced = load(item(tmp_path / 'a.png', reduce_zero_label=True))['gt_seg_map']
        np.testing.assert_array_equal(reduced, np.where(LABELS > 3, 0, 255))
    Image.fromarray(np.where(LABELS > 3, 65535, 300).astype(np.uint16)).save(tmp_path / 'b.png')
    wide = LoadLabelMap(7, {300: 6, 65535: 255})(item(tmp_path / 'b.png'))['gt_seg_map']
    np.testing.assert_array_equal(wide, np.where(LABELS > 3, 255, 6))


@pytest.mark.parametrize('label_map', [{256 * 256: 1}, {1: 256}, {'a': 1}, {1: 'b'}, [1], {-1: 0}])
def test_own_label_map_is_checked(label_map):
    with pytest.raises(InputError, match=r'label_map must be a dict .*\{255: 1\}'):
        LoadLabelMap(2, label_map)


@pytest.mark.parametrize('reduce_zero_label', [False, True])
@pytest.mark.parametrize('label_map', [None, {0: 255, 1: 0, 2: 1, 3: 0}, {5: 6, 6: 5}])
def test_renamed_labels_are_those_of_mmseg(tmp_path, reduce_zero_label, label_map):
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(every).save(tmp_path / 'a.png')
    changes = dict(ori_shape=(16, 16), reduce_zero_label=reduce_zero_label, label_map=label_map)
    np.testing.assert_array_equal(
        read(tmp_path / 'a.png', None, **changes), mmseg_reads(tmp_path / 'a.png', **changes)
    )


@pytest.mark.parametrize(('number', 'fits'), [(150, True), (151, False), (0, True), (255, True), (254, False)])
def test_labels_of_ade20k(tmp_path, number, fits):
    """0 to 150 in the file, of which 0 is ignored and the others are one less: 150 classes."""
    Image.fromarray(np.full((HEIGHT, WIDTH), number, dtype=np.uint8)).save(tmp_path / 'a.png')
    if fits:
        expected = 255 if number in (0, 255) else number - 1
        assert (read(tmp_path / 'a.png', 150, reduce_zero_label=True) == expected).all()
    else:
        with pytest.raises(InputError, match=rf'a\.png has labels outside the 150 classes: {number} \(240 pixels\)'):
            read(tmp_path / 'a.png', 150, reduce_zero_label=True)


def test_bare_image_of_inference():
    assert LoadLabelMap(7)(dict(img=1)) == dict(img=1)


# ---- refused ----


COLOUR = np.repeat(LABELS[..., None], 3, axis=-1)
# What the file holds, an image or bytes, and what the message says.
REFUSED = {
    'another size': (Image.fromarray(LABELS[:, :10]), r'is 10x12, its image 20x12'),
    'turned': (Image.fromarray(np.ascontiguousarray(LABELS.T)), r'is 12x20, its image 20x12'),
    '1x1': (Image.fromarray(LABELS[:1, :1]), r'is 1x1, its image 20x12'),
    'RGB': (Image.fromarray(COLOUR), r"must have one channel of integers .* got mode 'RGB'"),
    'RGBA': (Image.fromarray(np.dstack([COLOUR, LABELS])), "got mode 'RGBA'"),
    'grey and alpha': (Image.fromarray(COLOUR[..., :2]), "got mode 'LA'"),
    'CMYK': ((Image.fromarray(np.dstack([COLOUR, LABELS]), mode='CMYK'), 'TIFF'), "got mode 'CMYK'"),
    'JPEG colour': ((Image.fromarray(COLOUR), 'JPEG'), "got mode 'RGB'"),
    '16 bits, large labels': (Image.fromarray(LABELS.astype(np.uint16) * 300), r'do not fit 8 bits: 300 \(\d+ pixels'),
    '16 bits, label 7 of 7': (Image.fromarray(LABELS.astype(np.uint16) + 1), r'outside the 7 classes: 7 \(\d+ pixels'),
    '32 bits, negative': ((Image.fromarray(LABELS.astype(np.int32) - 1), 'TIFF'), r'do not fit 8 bits: -1 \(\d+ pix'),
    'floating point': ((Image.fromarray(LABELS.astype(np.float32)), 'TIFF'), "got mode 'F'"),
    'label 7 of 7': (Image.fromarray(LABELS + 1), r'outside the 7 classes: 7 \(\d+ pixels\)'),
    'labels as shades': (Image.fromarray(LABELS * 36), r'outside the 7 classes: 36 \(\d+ pixels\), 72'),
    'label 254': (Image.fromarray(np.full((HEIGHT, WIDTH), 254, np.uint8)), r'7 classes: 254 \(240 pixels\)'),
    'JPEG of labels': ((Image.fromarray(LABELS * 30), 'JPEG'), r'outside the 7 classes'),
    'empty': (b'', 'cannot be read: UnidentifiedImageError'),
    'html': (b'<html>404</html>', 'cannot be read: UnidentifiedImageError'),
    'cut off in the header': (PNG[:20], 'cannot be read'),
    'cut off': (PNG[: len(PNG) // 2], 'cannot be read'),
    'damaged': (PNG[:50] + b'\xff' * 20 + PNG[70:], 'cannot be read'),
    'missing': (None, 'does not exist'),
}


@pytest.mark.parametrize('content', REFUSED)
def test_refused_with_the_name_of_the_file(tmp_path, content):
    given, message = REFUSED[content]
    path = tmp_path / 'map.png'
    if isinstance(given, bytes):
        path.write_bytes(given)
    elif given is not None:
        image, kind = given if isinstance(given, tuple) else (given, 'PNG')
        path.write_bytes(encoded(image, kind))
    with pytest.raises(InputError) as info:
        read(path)
    assert f'label map {path} ' in str(info.value)
    assert re.search(message, str(info.value)), str(info.value)
    assert isinstance(info.value, FileNotFoundError) == (content == 'missing')


def test_flipped_bits(tmp_path):
    """Read with other labels of the classes, or refused with the name of the file."""

    @given(flipped_bits(PNG))
    def read_damaged(damaged):
        (tmp_path / 'a.png').write_bytes(damaged)
        try:
            assert read(tmp_path / 'a.png').shape == (HEIGHT, WIDTH)
        except InputError as error:
            assert 'a.png' in str(error)

    read_damaged()


@pytest.mark.parametrize('num_classes', [0, -1, 256])
def test_number_of_classes(num_classes):
    with pytest.raises(InputError, match='num_classes must be from 1 to 255'):
        LoadLabelMap(num_classes)


# ---- the data set, before training ----


def config(folder, **dataset):
    given = dict(
        type='BaseSegDataset',
        data_root=str(folder),
        data_prefix=dict(img_path='images', seg_map_path='maps'),
        metainfo=dict(classes=['a', 'b']),
    )
    return Config(dict(default_scope='mmseg', train_dataloader=dict(dataset=dict(given, **dataset))))


@pytest.fixture
def folder(tmp_path):
    for i in range(3):
        for name in (f'images/{i}.jpg', f'maps/{i}.png'):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(b'')
    return tmp_path


def test_all_there(folder):
    check_annotations(config(folder), ('train', 'val', 'test'))


@pytest.mark.parametrize('count', [1, 3])
def test_missing_label_maps(folder, count):
    for i in range(count):
        (folder / f'maps/{i}.png').unlink()
    with pytest.raises(InputError, match=rf'train_dataloader.dataset .* has {count} problems') as info:
        check_annotations(config(folder), ('train',))
    assert f'label map {folder}/maps/0.png does not exist' in str(info.value)


def test_no_images(folder):
    with pytest.raises(InputError, match=r'no images in .*images that end in \.png \(img_suffix\)'):
        check_annotations(config(folder, img_suffix='.png'), ('train',))


def test_image_of_the_list_is_missing(folder):
    (folder / 'list.txt').write_text('0\n1\n7\n')
    with pytest.raises(InputError, match=r'image .*images/7\.jpg does not exist'):
        check_annotations(config(folder, ann_file='list.txt'), ('train',))


# ---- the real tool ----


@pytest.mark.slow
@pytest.mark.parametrize(
    ('damage', 'parts'),
    [
        ('missing', ['train_dataloader.dataset', 'has 1 problems', 'label map', '.png does not exist']),
        ('RGB', ['label map', "got mode 'RGB'"]),
    ],
)
def test_tool(root, toy_scenes, tmp_path, damage, parts):
    """A missing label map is found before, a wrong one when a worker reads it."""
    data = tmp_path / 'data'
    (data / 'semantic/train').mkdir(parents=True)
    for name in ('train', 'val', 'semantic/val'):
        os.symlink(toy_scenes / name, data / name)
    maps = sorted((toy_scenes / 'semantic/train').iterdir())
    for file in maps[1:] if damage == 'missing' else maps:
        if damage == 'missing':
            os.symlink(file, data / 'semantic/train' / file.name)
        else:
            Image.open(file).convert('RGB').save(data / 'semantic/train' / file.name)
    options = [f'{split}_dataloader.dataset.data_root={data}/' for split in ('train', 'val')]
    done = run_forked(root, 'tools/train.py', CONFIG, '--work-dir', tmp_path, '--cfg-options', *options)
    assert_refused(done, *parts)


@pytest.mark.slow
def test_mmsegs_inference_takes_the_pipeline(root):
    """inference_model removes mmseg's LoadAnnotations by name; ours stays, and has nothing to do."""
    from mmseg.apis import inference_model, init_model

    config = Config.fromfile(root / CONFIG)
    config.model.pretrained = None
    model = init_model(config, device='cpu')
    with torch.no_grad():
        found = inference_model(model, np.zeros((96, 96, 3), dtype=np.uint8))
    assert found.pred_sem_seg.data.shape == (1, 96, 96)
