"""LoadRandomResizedCrop: the distribution of the crops, the pixels, the arguments."""

import math

import cv2
import numpy as np
import pytest
from mmengine.registry import TRANSFORMS
from PIL import Image

from mmcnv2.datasets import LoadRandomResizedCrop, UnreadableImageError
from mmcnv2.datasets.images import ImageFile


@pytest.fixture(autouse=True)
def seed():
    np.random.seed(0)


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(folder, img, name='a.png', **kwargs):
    """Write an image; return what the transform needs."""
    Image.fromarray(img).save(folder / name, **kwargs)
    return dict(img_path=str(folder / name))


def photo(height, width):
    """Soft shapes with edges, as in a photograph."""
    img = cv2.resize(noise(height // 20 + 1, width // 20 + 1), (width, height), interpolation=cv2.INTER_CUBIC)
    for row in range(0, height - 30, 90):
        cv2.circle(img, (row * width // height, row + 30), 25, (250 - row % 250, 40, row % 250), -1)
    return img


# ---- where the crops are ----


def test_crops_have_the_stated_distribution():
    # Large enough that rounding to pixels does not matter, square so that nearly all tries fit.
    side = 4000
    transform = LoadRandomResizedCrop(scale=(0.1, 0.5), ratio=(1 / 2, 2))
    crops = np.array([transform.sample_crop(side, side) for _ in range(20000)])
    top, left, height, width = crops.T
    area = height * width / side**2
    log_ratio = np.log(width / height)
    assert 0.0999 < area.min() < 0.101 and 0.499 < area.max() < 0.5001
    assert abs(log_ratio).max() < math.log(2) + 1e-3
    # Uniform on (a, b): mean (a + b) / 2, deviation (b - a) / sqrt(12). No crop is ever too large
    # here, the longest side is sqrt(0.5 * 2) of the image. Bounds are four standard errors.
    assert area.mean() == pytest.approx(0.3, abs=4 * 0.4 / 12**0.5 / 20000**0.5)
    assert area.std() == pytest.approx(0.4 / 12**0.5, rel=0.02)
    assert log_ratio.mean() == pytest.approx(0, abs=4 * 2 * math.log(2) / 12**0.5 / 20000**0.5)
    assert log_ratio.std() == pytest.approx(2 * math.log(2) / 12**0.5, rel=0.02)
    for start, length in [(top, height), (left, width)]:
        assert start.min() >= 0 and (start + length).max() <= side
        place = start / (side - length).clip(1)
        assert place.mean() == pytest.approx(0.5, abs=0.01)
        assert place.std() == pytest.approx(1 / 12**0.5, rel=0.02)


def test_crops_of_the_recipe_stay_inside_the_image():
    transform = LoadRandomResizedCrop()
    for height, width in [(375, 500), (500, 375), (32, 32), (1, 1), (1, 500), (500, 1), (2, 3)]:
        for _ in range(300):
            top, left, crop_h, crop_w = transform.sample_crop(height, width)
            assert crop_h > 0 and crop_w > 0
            assert 0 <= top <= height - crop_h and 0 <= left <= width - crop_w


def test_small_crop_reaches_every_border():
    transform = LoadRandomResizedCrop(scale=(0.25, 0.25), ratio=(1, 1))
    crops = {transform.sample_crop(4, 4) for _ in range(500)}
    assert crops == {(top, left, 2, 2) for top in range(3) for left in range(3)}


@pytest.mark.parametrize(
    ('shape', 'expected'),
    [
        # No crop with 90 % of the area fits. Wide: full height, width = height * 4/3 in the middle.
        ((30, 300), (0, (300 - 40) // 2, 30, 40)),
        # Tall: full width, height = width / (3/4).
        ((300, 30), ((300 - 40) // 2, 0, 40, 30)),
    ],
)
def test_centre_crop_of_elongated_images(shape, expected):
    transform = LoadRandomResizedCrop(scale=(0.9, 1.0))
    assert {transform.sample_crop(*shape) for _ in range(20)} == {expected}


def test_fallback_within_ratio_is_the_whole_image():
    # 100 % of the area with aspect ratio 1.1 to 1.3 never fits exactly into a ratio of 1.2.
    transform = LoadRandomResizedCrop(scale=(1.0, 1.0), ratio=(1.1, 1.3))
    crops = [transform.sample_crop(1000, 1200) for _ in range(50)]
    assert (0, 0, 1000, 1200) in crops


def reference_crops(height, width, scale, ratio, count, rng):
    """What torchvision documents, worked out for all tries at once; without the rare images that need a fallback."""
    area = height * width * rng.uniform(*scale, (count, 10))
    aspect = np.exp(rng.uniform(*np.log(ratio), (count, 10)))
    sides = np.stack([np.sqrt(area / aspect), np.sqrt(area * aspect)], axis=-1).round().astype(int)
    fits = (sides <= (height, width)).all(-1)
    sides = sides[np.arange(count), fits.argmax(1)][fits.any(1)]
    starts = np.floor(rng.uniform(0, 1, sides.shape) * ((height, width) - sides + 1)).astype(int)
    return np.concatenate([starts, sides], axis=1)


def test_crops_of_the_recipe_are_torchvisions():
    expected = reference_crops(375, 500, (0.2, 1), (3 / 4, 4 / 3), 20000, np.random.default_rng(0))
    transform = LoadRandomResizedCrop()
    crops = np.array([transform.sample_crop(375, 500) for _ in range(20000)])
    for of_one, of_other in zip(crops.T, expected.T, strict=True):
        # Kolmogorov-Smirnov: equal distributions are further apart once in a thousand times.
        values = np.arange(501)
        shares = (np.searchsorted(np.sort(side), values, 'right') / len(side) for side in (of_one, of_other))
        assert np.abs(np.subtract(*shares)).max() < 1.95 * math.sqrt(2 / 20000)
    assert np.corrcoef(crops.T) == pytest.approx(np.corrcoef(expected.T), abs=0.03)


# ---- the pixels ----


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic'])
@pytest.mark.parametrize(('height', 'width'), [(96, 96), (300, 210), (17, 30)])
def test_identity_crop_is_pillows_resize(tmp_path, interpolation, height, width):
    img = noise(height, width)
    transform = LoadRandomResizedCrop((40, 64), (1, 1), (width / height,) * 2, interpolation, flip_prob=0)
    results = transform(save(tmp_path, img))
    method = Image.Resampling[interpolation.upper()]
    expected = np.asarray(Image.fromarray(img).resize((64, 40), method)).astype(int)
    assert np.abs(results['img'] - expected).max() <= 2 and np.abs(results['img'] - expected).mean() < 0.2
    assert results['img'].dtype == np.uint8 and results['img'].shape == (40, 64, 3)
    assert results['img_shape'] == (40, 64) and results['ori_shape'] == (height, width)


@pytest.mark.parametrize(('name', 'tolerance'), [('a.png', 0.7), ('a.jpg', 2)])
@pytest.mark.parametrize('orientation', [1, 6])
def test_output_shows_the_sampled_crop(tmp_path, name, tolerance, orientation):
    # A ramp in both directions: the mean of the output tells where the crop was. JPEG is decoded at 1/2 or 1/4.
    exif = Image.Exif()
    exif[0x0112] = orientation
    y, x = np.mgrid[:128, :160].astype(np.uint8)
    upright = np.stack([y, x, np.zeros_like(x)], axis=-1)
    stored = upright if orientation == 1 else np.rot90(upright)  # 6: shown after turning clockwise
    results = save(tmp_path, np.ascontiguousarray(stored), name, exif=exif)
    transform = LoadRandomResizedCrop(size=32, flip_prob=0)
    for trial in range(20):
        np.random.seed(trial)
        top, left, height, width = transform.sample_crop(128, 160)
        np.random.seed(trial)
        out = transform(dict(results))
        assert out['ori_shape'] == (128, 160)
        assert out['img'][..., 0].mean() == pytest.approx(top + (height - 1) / 2, abs=tolerance)
        assert out['img'][..., 1].mean() == pytest.approx(left + (width - 1) / 2, abs=tolerance)


@pytest.mark.parametrize(
    ('crop', 'divisor'),
    [((223, 900), 1), ((447, 448), 1), ((448, 448), 2), ((500, 895), 2), ((900, 896), 4), ((1792, 5000), 8)],
)
def test_divisor_leaves_the_output_size(crop, divisor):
    assert LoadRandomResizedCrop(224).divisor(*crop) == divisor
    assert LoadRandomResizedCrop((112, 224)).divisor(crop[0] / 2, crop[1]) == divisor


@pytest.mark.parametrize('divisor', [2, 4, 8])
def test_smaller_decoding_does_no_harm(tmp_path, divisor):
    # Crops decoded smaller beside the same ones decoded at full size, edges rounded alike.
    file = ImageFile(save(tmp_path, photo(600, 800), 'a.jpg', quality=95)['img_path'])
    transform = LoadRandomResizedCrop(size=304 // divisor)
    differences, detail = [], []
    while len(differences) < 10:
        window = np.array(transform.sample_crop(600, 800))
        if transform.divisor(*window[2:]) != divisor:
            continue
        edges = (np.cumsum(window.reshape(2, 2), axis=0) + divisor // 2) // divisor * divisor
        rounded = np.diff(edges, axis=0, prepend=[[0, 0]]).flatten()
        used = transform.resize(file.read(*window, divisor)).astype(int)
        full = transform.resize(file.read(*rounded)).astype(int)
        differences.append(np.abs(used - full).mean())
        detail.append(np.abs(np.diff(full, axis=1)).mean())
    assert np.mean(differences) < 4 and np.mean(differences) < 0.3 * np.mean(detail)  # a shift by a pixel: 1


@pytest.mark.parametrize('name', ['a.jpg', 'a.png'])
def test_decodes_at_the_divisor_of_the_crop(tmp_path, monkeypatch, name):
    used, decode = [], cv2.imdecode
    monkeypatch.setattr(cv2, 'imdecode', lambda data, flag: used.append(flag) or decode(data, flag))
    results = save(tmp_path, photo(600, 800), name)
    for size in (600, 300, 150, 75, 20):
        LoadRandomResizedCrop(size, scale=(1, 1), ratio=(4 / 3, 4 / 3))(results)
    fractions = ['IMREAD_COLOR', 'IMREAD_REDUCED_COLOR_2', 'IMREAD_REDUCED_COLOR_4', 'IMREAD_REDUCED_COLOR_8']
    expected = [getattr(cv2, fraction) | cv2.IMREAD_IGNORE_ORIENTATION for fraction in (*fractions, fractions[-1])]
    assert used == (expected if name == 'a.jpg' else [])


def test_shrinking_is_antialiased(tmp_path):
    stripes = np.zeros((256, 256, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    out = LoadRandomResizedCrop(size=32, scale=(1, 1), ratio=(1, 1))(save(tmp_path, stripes))['img']
    assert np.abs(out[:, 2:-2].astype(int) - 127.5).max() < 2


def test_flip(tmp_path):
    results = save(tmp_path, noise(16, 16))
    kwargs = dict(size=16, scale=(1, 1), ratio=(1, 1))
    upright = LoadRandomResizedCrop(**kwargs, flip_prob=0)(dict(results))['img']
    np.testing.assert_array_equal(upright, noise(16, 16))
    flipped = LoadRandomResizedCrop(**kwargs, flip_prob=1)(dict(results))['img']
    np.testing.assert_array_equal(flipped, upright[:, ::-1])
    sometimes = LoadRandomResizedCrop(**kwargs)
    count = sum((sometimes(dict(results))['img'] == flipped).all() for _ in range(400))
    assert count == pytest.approx(200, abs=4 * 10)  # four deviations


def test_seed_makes_it_repeatable(tmp_path):
    transform, results = LoadRandomResizedCrop(size=16), save(tmp_path, noise(50, 60), 'a.jpg')
    np.random.seed(3)
    first = transform(dict(results))['img']
    second = transform(dict(results))['img']
    np.random.seed(3)
    np.testing.assert_array_equal(transform(dict(results))['img'], first)
    assert (first != second).any()


def test_damaged_file(tmp_path):
    results = save(tmp_path, noise(500, 500), 'a.jpg')
    content = (tmp_path / 'a.jpg').read_bytes()
    (tmp_path / 'a.jpg').write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadableImageError, match=r'a\.jpg'):
        LoadRandomResizedCrop()(results)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(size=0), 'size'),
        (dict(size=(224, 0)), 'size'),
        (dict(size=(1, 2, 3)), 'size'),
        (dict(size=(22.4, 5)), 'size'),
        (dict(scale=(0, 1)), 'scale'),
        (dict(scale=(0.5, 0.2)), 'scale'),
        (dict(scale=(0.2, 1.5)), 'scale'),
        (dict(ratio=(0, 1)), 'ratio'),
        (dict(ratio=(2, 1)), 'ratio'),
        (dict(interpolation='nearest'), 'bicubic'),
        (dict(flip_prob=1.5), 'flip_prob'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        LoadRandomResizedCrop(**kwargs)


def test_builds_from_config_with_lists():
    cfg = dict(type='mmcnv2.LoadRandomResizedCrop', size=[32, 64], scale=[0.5, 1.0])
    transform = TRANSFORMS.build(cfg)
    assert transform.size == (32, 64)
    assert 'size=(32, 64)' in repr(transform)
