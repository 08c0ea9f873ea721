import cv2
import numpy as np
import pytest
import tifffile
from helpers.pictures import encode
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmcnv2.datasets import UnreadableImageError
from mmcnv2.inference.preparation import Preparation, training_reader
from mmcnv2.utils.errors import ConfigError, InputError

MMCV, OURS = dict(type='LoadImageFromFile'), dict(type='mmcnv2.LoadImage')
REST = [
    dict(type='Resize', scale=(64, 48), keep_ratio=False),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]


def preparation(*steps):
    cfg = Config(dict(test_dataloader=dict(dataset=dict(type='BaseSegDataset', pipeline=[*steps]))))
    with DefaultScope.overwrite_default_scope('mmseg'):
        return Preparation(cfg)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)


@pytest.mark.parametrize('reader', [MMCV, OURS])
def test_array_and_file_are_the_same(tmp_path, image, reader):
    cv2.imwrite(str(tmp_path / 'a.png'), image[..., ::-1])
    prepared = preparation(reader, *REST)
    pixels = prepared.read(str(tmp_path / 'a.png'))
    assert (pixels == prepared.from_array(image)).all()
    assert (prepared.picture(pixels) == image).all()
    order = image[..., ::-1] if reader is MMCV else image  # mmcv's is BGR, ours RGB
    assert (pixels == order).all()
    packed = prepared(pixels, str(tmp_path / 'a.png'))
    expected = cv2.resize(np.ascontiguousarray(order), (64, 48), interpolation=cv2.INTER_LINEAR)
    assert (packed['inputs'].numpy() == expected.transpose(2, 0, 1)).all()
    sample = packed['data_samples']
    assert sample.ori_shape == (30, 40) and sample.img_shape == (48, 64) and 'gt_sem_seg' not in sample


@pytest.mark.parametrize('reader', [MMCV, OURS])
@pytest.mark.parametrize(
    ('kind', 'mode'), [('PNG', 'L'), ('PNG', 'P'), ('PNG', 'I;16'), ('JPEG', 'CMYK'), ('PNG', 'RGBA')]
)
def test_kinds_of_files(tmp_path, reader, kind, mode):
    data, rgb = encode(kind, mode)
    (tmp_path / 'file').write_bytes(data)
    prepared = preparation(reader, *REST)
    tolerance = 3 if kind == 'JPEG' else 1  # mmcv rounds 16 bits otherwise
    picture = prepared.picture(prepared.read(str(tmp_path / 'file')))
    np.testing.assert_allclose(picture.astype(int), rgb, atol=tolerance)


def test_exif_orientation(tmp_path, image):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    Image.fromarray(image).save(tmp_path / 'a.png', exif=exif)
    for reader in (MMCV, OURS):
        prepared = preparation(reader, *REST)
        upright = prepared.picture(prepared.read(str(tmp_path / 'a.png')))
        assert (upright == np.rot90(image, -1)).all()


def test_many_bands(tmp_path):
    bands = np.random.default_rng(0).integers(0, 4096, (30, 40, 6), dtype=np.uint16)
    tifffile.imwrite(tmp_path / 'a.tif', np.moveaxis(bands, -1, 0))
    prepared = preparation(dict(OURS, bands='all', value_range=(0, 4095)), *REST)
    pixels = prepared.read(str(tmp_path / 'a.tif'))
    np.testing.assert_allclose(pixels, bands * (255 / 4095), rtol=1e-5)
    assert prepared.from_array(pixels) is pixels  # such arrays are taken as they are
    picture = prepared.picture(pixels)
    np.testing.assert_allclose(picture, bands[..., :3] * (255 / 4095), atol=0.51)


@pytest.mark.parametrize('shape', [(4, 4), (4, 4, 4), (0, 4, 3), (4, 4, 3)])
def test_arrays_that_are_no_image(shape):
    array = np.zeros(shape, dtype=float if shape == (4, 4, 3) else np.uint8)
    with pytest.raises(InputError, match='an array must be'):
        preparation(MMCV, *REST).from_array(array)


def test_errors_name_the_file(tmp_path):
    (tmp_path / 'a.png').write_bytes(b'no image')
    with pytest.raises(UnreadableImageError, match=r'a\.png'):
        preparation(MMCV, *REST).read(str(tmp_path / 'a.png'))


def test_refused_configs():
    with pytest.raises(ConfigError, match=r'has no test_dataloader\.dataset\.pipeline'):
        Preparation(Config(dict()))
    with pytest.raises(ConfigError, match=r'pipeline\.0 must read an image file'):
        preparation(dict(type='RandomFlip'), *REST)
    with pytest.raises(ConfigError, match=r'pipeline\.1 cannot be built.*Nonsense'):
        preparation(MMCV, dict(type='Nonsense'))


def test_reader_of_a_pretraining():
    step = dict(type='LoadRandomResizedCrop', size=224, scale=(0.2, 1.0), bands=[2, 0])
    dataset = dict(type='UnlabelledImages', pipeline=[step, dict(type='PackUnlabelled')])
    reader, side = training_reader(Config(dict(train_dataloader=dict(dataset=dataset))))
    assert reader.reader.bands == (2, 0)
    assert side == pytest.approx(224 / 0.6**0.5)
