"""LoadRGBImage and ImageFile: files of every usual kind, written here, against pixel values worked out by hand."""

import io
import pickle

import cv2
import numpy as np
import pytest
from mmengine.registry import TRANSFORMS
from PIL import Image

from mmcnv2.datasets import LoadRGBImage, UnreadableImageError
from mmcnv2.datasets.images import ImageFile


def load(path):
    results = LoadRGBImage()(dict(img_path=str(path)))
    img = results['img']
    assert img.dtype == np.uint8 and img.ndim == 3 and img.shape[2] == 3
    assert results['img_shape'] == results['ori_shape'] == img.shape[:2]
    return img


def rgb(*pixels):
    """One row of pixels."""
    return np.array([pixels], dtype=np.uint8)


def test_builds_from_config():
    assert isinstance(TRANSFORMS.build(dict(type='mmcnv2.LoadRGBImage')), LoadRGBImage)


@pytest.mark.parametrize('ext', ['png', 'bmp', 'tif', 'webp'])
def test_channel_order_is_rgb(tmp_path, ext):
    expected = rgb((255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 20, 30))
    Image.fromarray(expected).save(tmp_path / f'a.{ext}', lossless=True)
    np.testing.assert_array_equal(load(tmp_path / f'a.{ext}'), expected)


def test_jpeg_colour(tmp_path):
    Image.new('RGB', (16, 8), (200, 100, 50)).save(tmp_path / 'a.jpg', quality=100, subsampling=0)
    img = load(tmp_path / 'a.jpg')
    assert img.shape == (8, 16, 3)
    assert np.abs(img.astype(int) - (200, 100, 50)).max() <= 2


def test_result_is_writable(tmp_path):
    Image.new('RGB', (2, 2)).save(tmp_path / 'a.png')
    load(tmp_path / 'a.png')[0, 0] = 255


def test_grey_has_three_equal_channels(tmp_path):
    Image.fromarray(np.array([[0, 7, 255]], dtype=np.uint8)).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(load(tmp_path / 'a.png'), rgb((0, 0, 0), (7, 7, 7), (255, 255, 255)))


def test_one_bit(tmp_path):
    Image.fromarray(np.array([[False, True]])).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(load(tmp_path / 'a.png'), rgb((0, 0, 0), (255, 255, 255)))


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('transparency', [None, 1, bytes([0, 128])])
def test_palette(tmp_path, transparency):
    image = Image.new('P', (2, 1))
    image.putpalette([1, 2, 3, 200, 100, 50])
    image.putdata([1, 0])
    kwargs = {} if transparency is None else dict(transparency=transparency)
    image.save(tmp_path / 'a.png', **kwargs)
    np.testing.assert_array_equal(load(tmp_path / 'a.png'), rgb((200, 100, 50), (1, 2, 3)))


def test_alpha_is_dropped_not_blended(tmp_path):
    rgba = np.array([[(200, 100, 50, 0), (1, 2, 3, 128), (4, 5, 6, 255)]], dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / 'rgba.png')
    np.testing.assert_array_equal(load(tmp_path / 'rgba.png'), rgba[..., :3])
    grey_alpha = np.array([[(9, 0), (80, 255)]], dtype=np.uint8)
    Image.fromarray(grey_alpha).save(tmp_path / 'la.png')
    np.testing.assert_array_equal(load(tmp_path / 'la.png'), rgb((9, 9, 9), (80, 80, 80)))


def test_cmyk_tiff(tmp_path):
    # R = 255 * (1 - C) * (1 - K), and so on: no ink, cyan alone, half black.
    Image.fromarray(np.array([[(0, 0, 0, 0), (255, 0, 0, 0), (0, 0, 0, 128)]], dtype=np.uint8), mode='CMYK').save(
        tmp_path / 'a.tif'
    )
    np.testing.assert_array_equal(load(tmp_path / 'a.tif'), rgb((255, 255, 255), (0, 255, 255), (127, 127, 127)))


def test_adobe_cmyk_jpeg(tmp_path):
    # Adobe stores CMYK in JPEG inverted; OpenCV has its own reader of it.
    path = tmp_path / 'a.jpg'
    Image.new('CMYK', (16, 16), (0, 255, 128, 0)).save(path, quality=100)
    assert b'Adobe' in path.read_bytes()
    img = load(path).astype(int)
    assert np.abs(img - (255, 0, 127)).max() <= 3
    assert np.abs(img - cv2.imread(str(path))[..., ::-1]).max() <= 3


@pytest.mark.parametrize('ext', ['png', 'tif'])
def test_16_bit_grey_keeps_the_upper_byte(tmp_path, ext):
    grey = np.array([[0, 255, 256, 0x80FF, 65535]], dtype=np.uint16)
    cv2.imwrite(str(tmp_path / f'a.{ext}'), grey)
    np.testing.assert_array_equal(load(tmp_path / f'a.{ext}')[0, :, 0], [0, 0, 1, 0x80, 255])


def test_16_bit_big_endian_and_colour(tmp_path):
    values = np.array([[0, 0x80FF, 65535]], dtype='>u2')
    Image.frombytes('I;16B', (3, 1), values.tobytes()).save(tmp_path / 'a.tif')
    np.testing.assert_array_equal(load(tmp_path / 'a.tif')[0, :, 1], [0, 0x80, 255])
    cv2.imwrite(str(tmp_path / 'a.png'), np.array([[(0, 0x80FF, 65535)]], dtype=np.uint16))
    np.testing.assert_array_equal(load(tmp_path / 'a.png'), rgb((255, 0x80, 0)))


def test_mode_i(tmp_path):
    Image.fromarray(np.array([[0, 0x1234, 65535]], dtype=np.int32)).save(tmp_path / 'a.tif')
    np.testing.assert_array_equal(load(tmp_path / 'a.tif')[0, :, 2], [0, 0x12, 255])
    Image.fromarray(np.array([[0, 65536]], dtype=np.int32)).save(tmp_path / 'b.tif')
    with pytest.raises(UnreadableImageError, match='outside 0 to 65535'):
        load(tmp_path / 'b.tif')


def test_float_is_refused_with_the_reason(tmp_path):
    Image.fromarray(np.ones((2, 2), dtype=np.float32)).save(tmp_path / 'a.tif')
    with pytest.raises(UnreadableImageError, match='floating-point') as info:
        load(tmp_path / 'a.tif')
    assert 'a.tif' in str(info.value)


@pytest.mark.parametrize('ext', ['gif', 'webp'])
def test_animation_gives_its_first_frame(tmp_path, ext):
    frames = [Image.new('RGB', (4, 4), colour) for colour in [(255, 0, 0), (0, 0, 255)]]
    frames[0].save(tmp_path / f'a.{ext}', save_all=True, append_images=frames[1:], lossless=True, duration=9)
    np.testing.assert_array_equal(load(tmp_path / f'a.{ext}'), np.full((4, 4, 3), (255, 0, 0)))


# How a picture lies in the file for each orientation, from the definitions in the EXIF standard.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: a.transpose(1, 0, 2)[::-1],  # shown after turning clockwise
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: a.transpose(1, 0, 2)[:, ::-1],  # shown after turning anti-clockwise
}


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientations_show_the_same_picture(tmp_path, orientation):
    picture = np.zeros((32, 48, 3), dtype=np.uint8)
    picture[:16, :16] = (250, 0, 0)
    picture[:16, 32:] = (0, 250, 0)
    picture[16:, :16] = (0, 0, 250)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](picture)))
    for ext in ('png', 'webp', 'tif'):
        stored.save(tmp_path / f'a.{ext}', exif=exif, lossless=True)
        np.testing.assert_array_equal(load(tmp_path / f'a.{ext}'), picture)
    stored.save(tmp_path / 'a.jpg', exif=exif, quality=100, subsampling=0)
    img = load(tmp_path / 'a.jpg').astype(int)
    assert np.abs(img - picture).max() <= 4
    # OpenCV applies the orientation of JPEG files too.
    assert np.abs(img - cv2.imread(str(tmp_path / 'a.jpg'))[..., ::-1]).max() <= 4


def photo(height, width, seed=0):
    """Soft shapes, as in a photograph: what a smaller decoding keeps."""
    noise = np.random.default_rng(seed).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


# ---- windows, and smaller decoding ----


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('ext', ['png', 'jpg', 'tif'])
def test_window_is_that_part_of_the_whole(tmp_path, ext, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(photo(50, 70)).save(tmp_path / f'a.{ext}', exif=exif)
    whole = load(tmp_path / f'a.{ext}')
    file = ImageFile(str(tmp_path / f'a.{ext}'))
    assert (file.height, file.width) == whole.shape[:2] == ((50, 70) if orientation < 5 else (70, 50))
    window = file.read(10, 5, 20, 30)
    np.testing.assert_array_equal(window, whole[10:30, 5:35])
    assert window.flags.c_contiguous and window.flags.writeable


@pytest.mark.parametrize('mode', ['RGB', 'L'])
@pytest.mark.parametrize('kwargs', [{}, dict(subsampling=0), dict(progressive=True), dict(quality=30)])
def test_jpeg_has_the_values_that_pillow_decodes(tmp_path, mode, kwargs):
    Image.fromarray(photo(53, 71)).convert(mode).save(tmp_path / 'a.jpg', **kwargs)
    expected = np.asarray(Image.open(tmp_path / 'a.jpg').convert('RGB')).astype(int)
    assert np.abs(load(tmp_path / 'a.jpg') - expected).max() <= 1  # equal with the same libjpeg-turbo


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('divisor', [2, 4, 8])
def test_smaller_jpeg_shows_the_same_window(tmp_path, divisor, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(photo(304, 504)).save(tmp_path / 'a.jpg', exif=exif, quality=95)
    file = ImageFile(str(tmp_path / 'a.jpg'))
    top, left, height, width = 16, 40, 160, 224
    smaller = file.read(top, left, height, width, divisor)
    assert smaller.shape == (height // divisor, width // divisor, 3) and smaller.flags.c_contiguous
    # Beside means over squares. All edges are multiples of 8: a shift by a pixel would show.
    squares = file.read(top, left, height, width).reshape(height // divisor, divisor, width // divisor, divisor, 3)
    difference = np.abs(smaller - squares.mean((1, 3)))
    assert difference.mean() < 2
    assert np.abs(smaller[1:] - squares.mean((1, 3))[:-1]).mean() > 4 * difference.mean()


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('divisor', [2, 4, 8])
def test_edges_are_rounded_to_pixels_of_the_smaller_image(tmp_path, divisor, orientation):
    # The mean of a ramp tells where a window lies, and its difference from end to end how far it reaches.
    exif = Image.Exif()
    exif[0x0112] = orientation
    size = (203, 251) if orientation < 5 else (251, 203)
    y, x = np.mgrid[: size[0], : size[1]].astype(np.uint8)
    Image.fromarray(np.stack([y, x, y], axis=-1)).save(tmp_path / 'a.jpg', exif=exif, quality=100, subsampling=0)
    file = ImageFile(str(tmp_path / 'a.jpg'))
    for top, left in [(0, 0), (3, 7), (11, 1), (203 - 90, 251 - 101)]:
        full, smaller = (file.read(top, left, 90, 101, d).astype(float) for d in (1, divisor))
        assert np.abs(full.mean((0, 1)) - smaller.mean((0, 1))).max() < 0.75 * divisor
        for side, expected in zip(smaller.shape, (90, 101), strict=False):
            assert abs(side * divisor - expected) <= divisor


def test_smaller_window_is_never_empty(tmp_path):
    Image.new('RGB', (61, 45)).save(tmp_path / 'a.jpg')
    file = ImageFile(str(tmp_path / 'a.jpg'))
    for divisor in (2, 4, 8):
        for left in range(62 - divisor):
            assert file.read(0, left, divisor, divisor, divisor).shape == (1, 1, 3)


def test_other_formats_are_read_at_full_size(tmp_path):
    Image.fromarray(photo(40, 40)).save(tmp_path / 'a.png')
    assert ImageFile(str(tmp_path / 'a.png')).read(0, 0, 40, 40, 8).shape == (40, 40, 3)


def test_size_is_known_without_decoding(tmp_path, monkeypatch):
    Image.new('RGB', (60, 40)).save(tmp_path / 'a.jpg')
    monkeypatch.setattr(cv2, 'imdecode', None)
    monkeypatch.setattr(Image.Image, 'load', None)
    file = ImageFile(str(tmp_path / 'a.jpg'))
    assert (file.height, file.width) == (40, 60)


def test_bytes_after_the_end_of_a_jpeg(tmp_path):
    path = tmp_path / 'a.jpg'
    Image.fromarray(photo(40, 60)).save(path)
    expected = load(path)
    path.write_bytes(path.read_bytes() + b'trailer')
    np.testing.assert_array_equal(load(path), expected)


def test_first_picture_of_a_multi_picture_jpeg(tmp_path):
    first, second = (Image.fromarray(photo(40, 60, seed)) for seed in range(2))
    first.save(tmp_path / 'a.jpg', format='MPO', save_all=True, append_images=[second])
    assert Image.open(tmp_path / 'a.jpg').format == 'MPO'
    assert np.abs(load(tmp_path / 'a.jpg') - np.asarray(first).astype(int)).mean() < 3


def test_jpeg_that_opencv_refuses_is_left_to_pillow(tmp_path, monkeypatch):
    Image.fromarray(photo(40, 60)).save(tmp_path / 'a.jpg')
    expected = load(tmp_path / 'a.jpg')
    monkeypatch.setattr(cv2, 'imdecode', lambda *args: None)
    np.testing.assert_array_equal(load(tmp_path / 'a.jpg'), expected)


# ---- what cannot be read ----


def test_damaged_exif_does_not_matter(tmp_path):
    Image.new('RGB', (8, 8), (9, 9, 9)).save(tmp_path / 'a.png', exif=b'Exif\x00\x00MM\x00*\xff\xff')
    assert load(tmp_path / 'a.png').shape == (8, 8, 3)


def broken_files(folder):
    """Write files no decoder can read; return their paths."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    written = {}
    for name, kwargs in [('cut.jpg', {}), ('cut.png', {}), ('cut.webp', {})]:
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, {'jpg': 'jpeg'}.get(name[4:], name[4:]), **kwargs)
        written[name] = buffer.getvalue()[: len(buffer.getvalue()) // 2]
        if name == 'cut.png':
            damaged = bytearray(buffer.getvalue())
            damaged[37:60] = b'\xff' * 23  # the start of the compressed data
            written['damaged.png'] = bytes(damaged)
    written['empty.jpg'] = b''
    written['text.jpg'] = b'<html>404 not found</html>'
    for name, content in written.items():
        (folder / name).write_bytes(content)
    (folder / 'folder.jpg').mkdir()
    return [folder / name for name in [*written, 'folder.jpg', 'missing.jpg']]


def test_unreadable_files(tmp_path):
    for path in broken_files(tmp_path):
        with pytest.raises(UnreadableImageError) as info:
            load(path)
        assert info.value.path == str(path) and path.name in str(info.value)
        assert len(info.value.reason) > 10


def test_decompression_bomb(tmp_path, monkeypatch):
    Image.new('L', (100, 100)).save(tmp_path / 'a.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    with pytest.raises(UnreadableImageError, match='DecompressionBombError'):
        load(tmp_path / 'a.png')


def test_error_survives_pickling():
    error = pickle.loads(pickle.dumps(UnreadableImageError('a b.jpg', 'why')))
    assert isinstance(error, OSError)
    assert (error.path, error.reason, str(error)) == ('a b.jpg', 'why', "'a b.jpg': why")
