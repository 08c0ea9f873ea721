"""Image files of every kind and damage, read for pre-training and for downstream tasks."""

import io
import json
import logging
import struct
import sys
import zlib

import numpy as np
import pytest
from helpers.damage import flipped_bits
from helpers.launching import launch
from helpers.pictures import ALPHA, DAMAGED, KINDS, encode
from hypothesis import given
from mmcv.transforms import LoadImageFromFile
from mmengine.logging import MMLogger
from PIL import Image

from mmcnv2.datasets import (
    LoadCheckedImage,
    LoadRandomResizedCrop,
    LoadRGBImage,
    UnlabelledImages,
    UnreadableImageError,
)

each_kind = pytest.mark.parametrize(('kind', 'mode'), KINDS)
each_damaged = pytest.mark.parametrize(
    ('kind', 'mode', 'options'),
    DAMAGED,
    ids=['-'.join([kind, mode, *options]) for kind, mode, options in DAMAGED],
)


def rgb(transform, path):
    """What a transform reads, as RGB."""
    image = transform(dict(img_path=str(path)))['img']
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    return image if isinstance(transform, LoadRGBImage) else image[..., ::-1]


def refusal(transform, path):
    """The error of a transform, which names the file."""
    with pytest.raises(UnreadableImageError) as info:
        transform(dict(img_path=str(path)))
    assert info.value.path == str(path) and str(path) in str(info.value)
    assert info.value.reason
    return info.value.reason


# ---- kinds that are read ----


@each_kind
@pytest.mark.parametrize('size', [(13, 7), (1, 1)], ids=['7x13', '1x1'])
def test_read_as_rgb(tmp_path, kind, mode, size):
    data, expected = encode(kind, mode, size)
    (tmp_path / 'image.dat').write_bytes(data)
    off = np.abs(rgb(LoadRGBImage(), tmp_path / 'image.dat').astype(int) - expected)
    assert off.max() <= (3 if kind == 'JPEG' else 0)


@each_kind
def test_read_downstream(tmp_path, kind, mode):
    """mmcv's pixels. They are the same, but OpenCV blends a TIFF that has alpha with black."""
    data, expected = encode(kind, mode)
    (tmp_path / 'image.dat').write_bytes(data)
    image = rgb(LoadCheckedImage(), tmp_path / 'image.dat')
    np.testing.assert_array_equal(image, rgb(LoadImageFromFile(), tmp_path / 'image.dat'))
    if (kind, mode) == ('TIFF', 'RGBA'):
        expected = expected * (ALPHA / 255)
    assert np.abs(image - expected.astype(float)).max() <= (3 if kind in ('JPEG', 'TIFF') else 0)


@pytest.mark.parametrize('load', [LoadRGBImage(), LoadCheckedImage()])
@pytest.mark.parametrize(('kind', 'name'), [('PNG', 'a.jpg'), ('JPEG', 'a.png'), ('WEBP', 'a.bmp'), ('GIF', 'a.tif')])
def test_extension_does_not_matter(tmp_path, load, kind, name):
    data, expected = encode(kind, 'RGB' if kind != 'GIF' else 'P')
    (tmp_path / name).write_bytes(data)
    assert np.abs(rgb(load, tmp_path / name).astype(int) - expected).max() <= 3


@pytest.mark.parametrize('load', [LoadRGBImage(), LoadCheckedImage()])
@pytest.mark.parametrize('kind', ['GIF', 'WEBP', 'PNG', 'TIFF'])
def test_first_frame_of_an_animation(tmp_path, load, kind):
    frames = [Image.new('RGB', (6, 4), colour) for colour in [(255, 0, 0), (0, 255, 0), (0, 0, 255)]]
    options = {} if kind == 'TIFF' else dict(duration=50)
    options |= dict(lossless=True) if kind == 'WEBP' else {}
    frames[0].save(tmp_path / 'a.dat', kind, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(rgb(load, tmp_path / 'a.dat'), np.full((4, 6, 3), (255, 0, 0)))


@pytest.mark.parametrize('load', [LoadRGBImage(), LoadCheckedImage()])
@pytest.mark.parametrize(('orientation', 'red_corner'), [(3, (15, 31)), (6, (0, 15)), (8, (31, 0))])
def test_exif_orientation_is_applied(tmp_path, load, orientation, red_corner):
    """3: by 180 degrees, 6: to be turned clockwise, 8: the other way. Stored is 32x16 with red at its top left."""
    image = Image.new('RGB', (32, 16), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / 'a.jpg', exif=exif, quality=100, subsampling=0)
    upright = rgb(load, tmp_path / 'a.jpg')
    assert upright.shape == ((16, 32, 3) if orientation == 3 else (32, 16, 3))
    assert upright[red_corner][0] > 200 and (upright[..., 0] > 200).mean() == pytest.approx(1 / 8, abs=0.02)


@pytest.mark.parametrize('load', [LoadRGBImage(), LoadCheckedImage()])
@pytest.mark.parametrize('exif', [b'', b'MM\0*\xff\xff\xff\xff', b'II*\0\x08\0\0\0\xff\xff'], ids=['none', 'MM', 'II'])
def test_broken_exif_counts_as_none(tmp_path, load, exif):
    Image.new('RGB', (8, 4), (9, 9, 9)).save(tmp_path / 'a.jpg', exif=b'Exif\0\0' + exif)
    assert rgb(load, tmp_path / 'a.jpg').shape == (4, 8, 3)


# ---- damage ----


@each_damaged
@pytest.mark.parametrize('share', [0.0, 0.02, 0.5, 0.8])
def test_cut_off(tmp_path, kind, mode, options, share):
    data, _ = encode(kind, mode, (48, 64), **options)
    path = tmp_path / 'image.dat'
    path.write_bytes(data[: int(share * len(data))])
    for transform in (LoadRGBImage(), LoadRandomResizedCrop(8), LoadCheckedImage()):
        refusal(transform, path)


@each_damaged
def test_flipped_bits(tmp_path, kind, mode, options):
    """Refused, or decoded as it is where the format has no way to tell: never another error, never another type."""
    data, _ = encode(kind, mode, (48, 64), **options)
    path = tmp_path / 'image.dat'

    @given(flipped_bits(data))
    def read(damaged):
        path.write_bytes(damaged)
        for transform in (LoadRGBImage(), LoadCheckedImage()):
            try:
                rgb(transform, path)
            except UnreadableImageError as error:
                assert error.path == str(path) and error.reason

    read()


@pytest.mark.parametrize('load', [LoadRGBImage(), LoadCheckedImage()])
@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (b'', 'cannot identify'),
        (b'<html>404 not found</html>', 'cannot identify'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:0\n', 'cannot identify'),
        (b'\0' * 1000, 'cannot identify'),
        (b'\xff\xd8\xff\xd9', ''),
        (b'\x89PNG\r\n\x1a\n', ''),
        (None, 'No such file'),
        ('folder', 'Is a directory'),
    ],
    ids=['empty', 'html', 'lfs', 'zeros', 'empty jpeg', 'png signature', 'missing', 'folder'],
)
def test_no_image(tmp_path, load, content, reason):
    path = tmp_path / 'image.jpg'
    if content == 'folder':
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    assert reason in refusal(load, path)


@pytest.mark.parametrize(
    ('pixels', 'read'),
    [
        (np.linspace(0, 1, 6, dtype=np.float32), None),
        (np.arange(6, dtype=np.int32) * 100_000, None),
        (np.arange(6, dtype=np.int32) * 10_000, [0, 39, 78, 117, 156, 195]),
    ],
    ids=['float', 'beyond 16 bits', 'within 16 bits'],
)
def test_pixels_of_32_bits(tmp_path, pixels, read):
    """OpenCV decodes none of them to 8 bits."""
    path = tmp_path / 'a.tif'
    Image.fromarray(pixels[None]).save(path)
    refusal(LoadCheckedImage(), path)
    if read is None:
        assert 'convert the file to 8 bits' in refusal(LoadRGBImage(), path)
    else:
        assert rgb(LoadRGBImage(), path)[0, :, 0].tolist() == read


def test_damaged_files_are_skipped_in_pretraining(tmp_path):
    """One of each kind among good files: a warning each, and the next good one in its place."""
    messages = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: messages.append(record.getMessage())
    for i, (kind, mode, options) in enumerate(DAMAGED):
        data, _ = encode(kind, mode, (48, 64), **options)
        (tmp_path / f'{i:02d}_a.png').write_bytes(data[: len(data) // 2])
        Image.new('RGB', (4, 4), (i, 0, 0)).save(tmp_path / f'{i:02d}_b.png')
    dataset = UnlabelledImages(str(tmp_path), pipeline=[dict(type='mmcnv2.LoadRGBImage')])
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        read = [int(dataset[i]['img'][0, 0, 0]) for i in range(len(dataset))]
    finally:
        logger.removeHandler(handler)
    assert read == [i for i in range(len(DAMAGED)) for _ in range(2)]
    assert dataset.num_unreadable == len(DAMAGED)
    assert all(any(f'{i:02d}_a.png' in message for message in messages) for i in range(len(DAMAGED)))


def test_size_of_the_annotation_file(tmp_path):
    Image.new('RGB', (8, 4)).save(tmp_path / 'a.png')
    image = dict(img_path=str(tmp_path / 'a.png'))
    assert LoadCheckedImage()(dict(image, height=4, width=8))['img'].shape == (4, 8, 3)
    with pytest.raises(UnreadableImageError, match=r'a\.png.*the image is 8x4, the annotation file says 4x8'):
        LoadCheckedImage()(dict(image, height=8, width=4))


# ---- decompression bombs: 30000x30000, 900 million pixels ----

SIDE = 30000


def bomb(kind):
    """A small file whose header, or whole content, is a picture of that size."""
    if kind == 'PNG whole':  # 900 MB of zeros, deflated
        compress = zlib.compressobj(9)
        rows = bytes(SIDE + 1) * 100
        pixels = b''.join(compress.compress(rows) for _ in range(SIDE // 100)) + compress.flush()
        parts = [(b'IHDR', struct.pack('>IIBBBBB', SIDE, SIDE, 8, 0, 0, 0, 0)), (b'IDAT', pixels), (b'IEND', b'')]
        chunks = (struct.pack('>I', len(d)) + t + d + struct.pack('>I', zlib.crc32(t + d)) for t, d in parts)
        return b'\x89PNG\r\n\x1a\n' + b''.join(chunks)
    if kind == 'HDR':
        return b'#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 30000 +X 30000\n' + bytes(64)
    buffer = io.BytesIO()
    Image.new('L', (16, 16)).save(buffer, kind)
    data = bytearray(buffer.getvalue())
    if kind == 'JPEG':
        start = data.index(b'\xff\xc0') + 5
        data[start : start + 4] = struct.pack('>HH', SIDE, SIDE)
    elif kind == 'GIF':
        data[6:10] = struct.pack('<HH', SIDE, SIDE)
    elif kind == 'BMP':
        data[18:26] = struct.pack('<ii', SIDE, SIDE)
    else:
        for tag in (256, 257):  # width and height of a TIFF
            start = data.index(struct.pack('<HHI', tag, 4, 1)) + 8
            data[start : start + 4] = struct.pack('<I', SIDE)
    return bytes(data)


BOMBS = ['PNG whole', 'JPEG', 'TIFF', 'GIF', 'BMP', 'HDR']
READERS = ['LoadRGBImage', 'LoadRandomResizedCrop', 'LoadCheckedImage', 'LoadLabelMap']
READ_BOMB = """
import json, resource, sys
import mmcnv2.datasets
label_map = dict(reduce_zero_label=False, seg_fields=[], ori_shape=(30000, 30000))
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
for path in sys.argv[2:]:
    for reader in sys.argv[1].split(','):
        before = peak()
        try:
            getattr(mmcnv2.datasets, reader)()(dict(label_map, img_path=path, seg_map_path=path))
            message = 'read'
        except mmcnv2.datasets.UnreadableImageError.__mro__[1] as error:
            message = str(error)
        print(json.dumps([path, reader, message, peak() - before]))
"""


@pytest.fixture(scope='module')
def bombs(root, tmp_path_factory):
    """Message and MB of memory by kind and reader, from a process of its own."""
    folder = tmp_path_factory.mktemp('bombs')
    for kind in BOMBS:
        (folder / kind).write_bytes(bomb(kind))
    command = [sys.executable, '-c', READ_BOMB, ','.join(READERS), *(folder / kind for kind in BOMBS)]
    results = [json.loads(line) for line in launch(root, *command).stdout.splitlines()]
    return {(path.rpartition('/')[2], reader): (path, message, grown) for path, reader, message, grown in results}


@pytest.mark.slow
@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('kind', BOMBS)
def test_decompression_bomb(bombs, kind, reader):
    path, message, grown = bombs[kind, reader]
    assert path in message
    assert ('cannot identify' if kind == 'HDR' else 'DecompressionBombError') in message
    assert grown < 64  # MB; the pixels would take 858 as grey and 2575 as RGB
