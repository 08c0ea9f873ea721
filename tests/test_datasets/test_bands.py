"""Files of many bands and depths, written by several libraries, against the arrays that were written."""

import io
import json

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from mmcnv2.datasets import BandReader, LoadCheckedImage, LoadImage, LoadRandomResizedCrop, UnlabelledImages
from mmcnv2.datasets.bands import bands_last
from mmcnv2.datasets.images import UnreadableImageError, UnsupportedImageError, said_once
from mmcnv2.utils.errors import InputError, MissingPackageError

SHAPE = (40, 60)


@pytest.fixture(autouse=True)
def said(monkeypatch):
    """The warnings of a test."""
    said_once.forget()
    messages = []
    monkeypatch.setattr('mmcnv2.datasets.images.print_log', lambda message, **kwargs: messages.append(message))
    return messages


def scene(bands=6, dtype=np.uint16, shape=SHAPE):
    numbers = np.random.default_rng(0).integers(0, 4096 if np.dtype(dtype).itemsize > 1 else 256, (*shape, bands))
    return numbers.astype(dtype)


def load(path, bands='all', value_range=None, **results):
    return LoadImage(bands, value_range)(dict(img_path=str(path), **results))['img']


def to_first(array):
    return np.ascontiguousarray(np.moveaxis(array, -1, 0))


def pages(path, array):
    with tifffile.TiffWriter(path) as file:
        for band in to_first(array):
            file.write(band, contiguous=False)


WRITERS = {
    'band-last.tif': lambda path, a: tifffile.imwrite(path, a, photometric='minisblack', planarconfig='contig'),
    'band-first.tif': lambda path, a: tifffile.imwrite(
        path, to_first(a), photometric='minisblack', planarconfig='separate'
    ),
    'bare-last.tif': lambda path, a: tifffile.imwrite(path, a),  # 40 pages of 60x6 by the file
    'bare-first.tif': lambda path, a: tifffile.imwrite(path, to_first(a)),
    'one-series.tif': lambda path, a: tifffile.imwrite(path, to_first(a), metadata=None),
    'pages.tif': pages,
    'deflate.tif': lambda path, a: tifffile.imwrite(path, to_first(a), compression='zlib', bigtiff=True),
    'big-endian.tif': lambda path, a: tifffile.imwrite(path, to_first(a), byteorder='>'),
    'ome.ome.tif': lambda path, a: tifffile.imwrite(path, to_first(a), ome=True, metadata=dict(axes='CYX')),
    'last.npy': np.save,
    'first.npy': lambda path, a: np.save(path, to_first(a)),
    'one.npz': lambda path, a: np.savez(path, a),
    'each.npz': lambda path, a: np.savez_compressed(path, **{f'B{i}': band for i, band in enumerate(to_first(a))}),
}


@pytest.mark.parametrize('name', WRITERS)
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
def test_six_bands_in_every_layout(tmp_path, name, dtype):
    array = scene(dtype=dtype)
    WRITERS[name](tmp_path / name, array)
    read = load(tmp_path / name)
    assert read.dtype == (np.uint8 if dtype == np.uint8 else np.float32)
    np.testing.assert_array_equal(read, array)
    np.testing.assert_array_equal(load(tmp_path / name, [4, 0, 4]), array[..., [4, 0, 4]])
    content = (tmp_path / name).read_bytes()
    np.testing.assert_array_equal(load('shard.tar/x', img_bytes=content), array)
    window = BandReader('all').open(str(tmp_path / name)).read(3, 5, 7, 9)
    np.testing.assert_array_equal(window, array[3:10, 5:14])


PICTURES = [
    *(('png', bands, dtype) for bands in (1, 3, 4) for dtype in (np.uint8, np.uint16)),
    *(('tif', bands, dtype) for bands in (1, 3, 4) for dtype in (np.uint8, np.uint16, np.float32)),
    ('webp', 3, np.uint8),
    ('bmp', 3, np.uint8),
]


@pytest.mark.parametrize(('suffix', 'bands', 'dtype'), PICTURES)
def test_pictures_that_opencv_writes(tmp_path, suffix, bands, dtype):
    array = scene(bands, dtype)
    colours = array[..., [2, 1, 0, 3][:bands]] if bands > 1 else array
    path = tmp_path / f'a.{suffix}'
    options = {'tif': [cv2.IMWRITE_TIFF_COMPRESSION, 1], 'webp': [cv2.IMWRITE_WEBP_QUALITY, 101]}.get(suffix, [])
    cv2.imwrite(str(path), colours, options)
    np.testing.assert_array_equal(load(path), array)


def test_other_pictures(tmp_path):
    grey = scene(1, np.uint8)[..., 0]
    Image.fromarray(scene(2, np.uint8), 'LA').save(tmp_path / 'la.png')
    np.testing.assert_array_equal(load(tmp_path / 'la.png'), scene(2, np.uint8))
    Image.fromarray(grey).quantize(16).save(tmp_path / 'palette.png')
    np.testing.assert_array_equal(load(tmp_path / 'palette.png'), load(tmp_path / 'palette.png', 'rgb'))
    Image.fromarray(grey > 99).save(tmp_path / 'bits.png')
    np.testing.assert_array_equal(load(tmp_path / 'bits.png')[..., 0], (grey > 99) * 255)
    Image.fromarray(grey).save(tmp_path / 'grey.jpg')
    assert load(tmp_path / 'grey.jpg').shape == (*SHAPE, 1)
    np.testing.assert_array_equal(load(tmp_path / 'grey.jpg', [0, 0, 0]), load(tmp_path / 'grey.jpg', 'rgb'))


@pytest.mark.parametrize('orientation', range(1, 9))
def test_orientation_of_a_tiff_is_applied(tmp_path, orientation):
    array = scene(3, np.uint8)
    tag = [(274, 'H', 1, orientation, True)]
    tifffile.imwrite(tmp_path / 'a.tif', array, photometric='rgb', metadata=None, extratags=tag)
    np.testing.assert_array_equal(load(tmp_path / 'a.tif'), load(tmp_path / 'a.tif', 'rgb'))


def test_which_axis_has_the_bands():
    for shape, expected in [
        ((40, 60), (40, 60, 1)),
        ((40, 60, 6), (40, 60, 6)),
        ((6, 40, 60), (40, 60, 6)),
        ((224, 64, 64), (64, 64, 224)),  # more bands than rows
        ((64, 64, 224), (64, 64, 224)),
        ((3, 3, 3), (3, 3, 3)),
    ]:
        assert bands_last(np.empty(shape)).shape == expected


# ---- the scale ----


def test_value_range_maps_to_8_bits_and_keeps_the_levels(tmp_path):
    values = np.array([[0, 1, 2048, 4095, 5000]], dtype=np.uint16)
    cv2.imwrite(str(tmp_path / 'a.png'), values)
    expected = np.array([0, 1 / 4095, 2048 / 4095, 1, 1]) * 255
    np.testing.assert_allclose(load(tmp_path / 'a.png', 'all', (0, 4095))[0, :, 0], expected, rtol=1e-6)
    assert load(tmp_path / 'a.png', [0, 0, 0], (0, 4095)).shape == (1, 5, 3)
    np.save(tmp_path / 'a.npy', np.full((8, 8, 2), (10, 30), dtype=np.uint32) + 2**31)
    read = load(tmp_path / 'a.npy', 'all', [(2**31, 2**31 + 1024), (2**31, 2**31 + 4096)])
    np.testing.assert_allclose(read[0, 0], [10 / 1024 * 255, 30 / 4096 * 255], rtol=1e-6)  # beyond float32's integers


def test_value_range_from_statistics_follows_the_bands(tmp_path):
    np.save(tmp_path / 'a.npy', np.full((8, 8, 3), (10, 20, 30), dtype=np.uint16))
    statistics = dict(bands=[0, 2], value_range=[[0, 20], [10, 50]])
    (tmp_path / 's.json').write_text(json.dumps(statistics))
    path = str(tmp_path / 's.json')
    np.testing.assert_allclose(load(tmp_path / 'a.npy', [2, 0], path)[0, 0], [127.5, 127.5])
    with pytest.raises(UnsupportedImageError, match=r'band 1 is not in the statistics of .*s\.json'):
        load(tmp_path / 'a.npy', 'all', path)


def test_values_that_are_not_finite(tmp_path, said):
    array = scene(2, np.float32)
    array[:10, :, 1] = np.nan
    np.save(tmp_path / 'a.npy', array)
    with pytest.raises(UnsupportedImageError, match=r'12\.5% of the values are not finite\. With a value_range'):
        load(tmp_path / 'a.npy')
    for _ in range(2):
        read = load(tmp_path / 'a.npy', 'all', [(0, 4096), (2048, 4096)])
    assert (read[:10, :, 1] == 0).all() and np.isfinite(read).all()
    (message,) = said
    assert '12.5% of those read' in message


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(bands='nir'), "bands must be 'rgb', 'all' or a list"),
        (dict(bands=[]), 'bands must be'),
        (dict(bands=[-1]), 'bands must be'),
        (dict(value_range=(0, 4095)), "value_range needs bands='all'"),
        (dict(bands='all', value_range=(5, 5)), r'value_range must be \(lowest, highest\)'),
        (dict(bands='all', value_range='nowhere.json'), 'no file .*nowhere.json.*mmcnv2 stats'),
    ],
)
def test_wrong_arguments(arguments, message):
    for transform in (LoadImage, LoadRandomResizedCrop):
        with pytest.raises(InputError, match=message):
            transform(**arguments)


# ---- the random crop ----


@pytest.mark.parametrize('bands', [1, 2, 6, 13])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_random_crop_of_any_number_of_bands_is_antialiased(tmp_path, bands, dtype):
    """Each band is what Pillow makes of the same window in floating point."""
    array = scene(bands, dtype, (96, 128))
    np.save(tmp_path / 'a.npy', array)
    crop = LoadRandomResizedCrop(32, flip_prob=1, bands='all')
    np.random.seed(0)
    img = crop(dict(img_path=str(tmp_path / 'a.npy')))['img']
    np.random.seed(0)
    top, left, height, width = crop.sample_crop(96, 128)
    read = array[top : top + height, left : left + width]
    assert img.shape == (32, 32, bands) and img.dtype == (np.uint8 if dtype == np.uint8 else np.float32)
    for i in range(bands):
        band = Image.fromarray(array[..., i].astype(np.float32))
        window = band.crop((left, top, left + width, top + height))
        expected = np.asarray(window.resize((32, 32), Image.Resampling.BICUBIC))[:, ::-1]
        bounds = (0, 255) if dtype == np.uint8 else (read.min(), read.max())
        assert np.abs(img[..., i] - expected.clip(*bounds)).max() <= (1.5 if dtype == np.uint8 else 0.1)


# ---- what is lost, and what cannot be read ----


def test_each_loss_is_said_once(tmp_path, said):
    tifffile.imwrite(tmp_path / 'nir.tif', scene(4, np.uint8), photometric='rgb')
    tifffile.imwrite(tmp_path / 'pages.tif', to_first(scene(6, np.uint8)))
    cv2.imwrite(str(tmp_path / 'xray.png'), scene(1))
    for transform in (LoadImage(), LoadRandomResizedCrop(8), LoadCheckedImage()):
        transform(dict(img_path=str(tmp_path / 'nir.tif')))
    (message,) = said
    said.clear()
    assert (
        'nir.tif' in message and '1 of 4 values' in message and "bands='all' or a list such as [0, 1, 2, 3]" in message
    )
    for transform in (LoadImage(), LoadRandomResizedCrop(8), LoadCheckedImage()):
        transform(dict(img_path=str(tmp_path / 'pages.tif')))
    (message,) = said
    said.clear()
    assert '6 pages' in message and '5 of 6 are left out' in message
    for transform in (LoadImage(), LoadRandomResizedCrop(8), LoadCheckedImage()):
        transform(dict(img_path=str(tmp_path / 'xray.png')))
    (message,) = said
    said.clear()
    assert '16 of 256 grey levels remain' in message and 'value_range=(0, 4095)' in message


def test_what_loses_nothing_is_not_warned_of(tmp_path, said):
    opaque = np.concatenate([scene(3, np.uint8), np.full((*SHAPE, 1), 255, np.uint8)], axis=-1)
    Image.fromarray(opaque).save(tmp_path / 'opaque.png')
    cv2.imwrite(str(tmp_path / 'deep.png'), scene(1) * 16)
    thumbnail = Image.new('RGB', (6, 4))
    Image.new('RGB', (60, 40)).save(tmp_path / 'a.tif', save_all=True, append_images=[thumbnail])
    Image.new('RGB', (60, 40)).save(tmp_path / 'a.jpg')
    for path in tmp_path.iterdir():
        load(path, 'rgb')
    assert said == []


def test_13_bands_are_unsupported_and_not_damaged(tmp_path):
    path = tmp_path / 'a.tif'
    tifffile.imwrite(path, scene(13), photometric='minisblack', planarconfig='contig')
    np.save(tmp_path / 'a.npy', scene(13))
    for transform in (LoadImage(), LoadRandomResizedCrop(8)):
        for file in (path, tmp_path / 'a.npy'):
            with pytest.raises(UnsupportedImageError, match=r"13 bands of uint16, which bands='rgb' does not read\."):
                transform(dict(img_path=str(file)))
    with pytest.raises(UnsupportedImageError, match='the file has bands 0 to 12, and bands has 13'):
        load(path, [13])
    path.write_bytes(path.read_bytes()[:5000])
    for bands in ('rgb', 'all'):
        with pytest.raises(UnreadableImageError) as info:
            load(path, bands)
        assert not isinstance(info.value, UnsupportedImageError)


def test_damaged_arrays(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, scene())
    (tmp_path / 'cut.npy').write_bytes(buffer.getvalue()[:999])
    np.save(tmp_path / 'objects.npy', np.array([dict()]), allow_pickle=True)
    np.save(tmp_path / 'axes.npy', np.zeros((2, 3, 4, 5)))
    (tmp_path / 'cut.npz').write_bytes(b'PK\x03\x04nothing')
    for path in tmp_path.iterdir():
        with pytest.raises(UnreadableImageError, match=path.name):
            load(path)
    np.savez(tmp_path / 'sizes.npz', a=np.zeros((3, 4)), b=np.zeros((4, 4)))
    with pytest.raises(UnsupportedImageError, match=r'a \(3, 4, 1\), b \(4, 4, 1\)'):
        load(tmp_path / 'sizes.npz')


def test_compression_without_its_package(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / 'a.tif', scene(), compression='zlib')

    def decode(*args, **kwargs):
        raise ValueError("<COMPRESSION.ADOBE_DEFLATE: 8> requires the 'imagecodecs' package")

    monkeypatch.setattr(tifffile.TiffPageSeries, 'asarray', decode)
    with pytest.raises(MissingPackageError, match=r'a\.tif.*pip install imagecodecs'):
        load(tmp_path / 'a.tif')


def test_folder_of_another_kind_is_not_called_damaged(tmp_path):
    for i in range(3):
        tifffile.imwrite(tmp_path / f'{i}.tif', scene(), photometric='minisblack', planarconfig='contig')
    dataset = UnlabelledImages(str(tmp_path), pipeline=[dict(type='mmcnv2.LoadImage')])
    with pytest.raises(InputError, match=r"3 of 3 images .* is not damaged: 6 bands of uint16.*Set bands='all'"):
        dataset[0]
    dataset = UnlabelledImages(str(tmp_path), pipeline=[dict(type='mmcnv2.LoadImage', bands='all')])
    assert dataset[0]['img'].shape == (*SHAPE, 6)
