"""RandomResizedCrop: the distribution of the crops, the pixels, the arguments."""

import math

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS
from PIL import Image

from mmcnv2.datasets import RandomResizedCrop


@pytest.fixture(autouse=True)
def seed():
    np.random.seed(0)


def noise(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_crops_have_the_stated_distribution():
    # Large enough that rounding to pixels does not matter, square so that nearly all tries fit.
    side = 4000
    transform = RandomResizedCrop(scale=(0.1, 0.5), ratio=(1 / 2, 2))
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
    transform = RandomResizedCrop()
    for height, width in [(375, 500), (500, 375), (32, 32), (1, 1), (1, 500), (500, 1), (2, 3)]:
        for _ in range(300):
            top, left, crop_h, crop_w = transform.sample_crop(height, width)
            assert crop_h > 0 and crop_w > 0
            assert 0 <= top <= height - crop_h and 0 <= left <= width - crop_w


def test_small_crop_reaches_every_border():
    transform = RandomResizedCrop(scale=(0.25, 0.25), ratio=(1, 1))
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
    transform = RandomResizedCrop(scale=(0.9, 1.0))
    assert {transform.sample_crop(*shape) for _ in range(20)} == {expected}


def test_fallback_within_ratio_is_the_whole_image():
    # 100 % of the area with aspect ratio 1.1 to 1.3 never fits exactly into a ratio of 1.2.
    transform = RandomResizedCrop(scale=(1.0, 1.0), ratio=(1.1, 1.3))
    crops = [transform.sample_crop(1000, 1200) for _ in range(50)]
    assert (0, 0, 1000, 1200) in crops


def test_identity_crop_is_pillows_resize():
    img = noise(96, 96)
    transform = RandomResizedCrop(size=(40, 64), scale=(1, 1), ratio=(1, 1))
    results = transform(dict(img=img.copy()))
    expected = np.asarray(Image.fromarray(img).resize((64, 40), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(results['img'], expected)
    assert results['img'].dtype == np.uint8
    assert results['img_shape'] == (40, 64)


def test_output_shows_the_sampled_crop():
    # A ramp in both directions: the mean of the output tells where the crop was.
    y, x = np.mgrid[:128, :128].astype(np.uint8)
    img = np.stack([y, x, np.zeros_like(x)], axis=-1)
    transform = RandomResizedCrop(size=32)
    for trial in range(20):
        np.random.seed(trial)
        top, left, height, width = transform.sample_crop(128, 128)
        np.random.seed(trial)
        out = transform(dict(img=img))['img']
        assert out[..., 0].mean() == pytest.approx(top + (height - 1) / 2, abs=0.7)
        assert out[..., 1].mean() == pytest.approx(left + (width - 1) / 2, abs=0.7)


def test_shrinking_is_antialiased():
    stripes = np.zeros((256, 256, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    out = RandomResizedCrop(size=32, scale=(1, 1), ratio=(1, 1))(dict(img=stripes))['img']
    assert np.abs(out[:, 2:-2].astype(int) - 127.5).max() < 2


def test_interpolation_and_int_size():
    img = noise(8, 8)
    transform = RandomResizedCrop(size=16, scale=(1, 1), ratio=(1, 1), interpolation='nearest')
    np.testing.assert_array_equal(transform(dict(img=img))['img'], img.repeat(2, 0).repeat(2, 1))


def test_seed_makes_it_repeatable():
    transform, img = RandomResizedCrop(size=16), noise(50, 60)
    np.random.seed(3)
    first = transform(dict(img=img))['img']
    second = transform(dict(img=img))['img']
    np.random.seed(3)
    np.testing.assert_array_equal(transform(dict(img=img))['img'], first)
    assert (first != second).any()


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
        (dict(interpolation='cubic'), 'bicubic'),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        RandomResizedCrop(**kwargs)


@pytest.mark.parametrize('img', [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_bad_images(img):
    with pytest.raises(TypeError, match=r'\(H, W, 3\)'):
        RandomResizedCrop()(dict(img=img))


def test_builds_from_config_with_lists():
    cfg = dict(type='mmcnv2.RandomResizedCrop', size=[32, 64], scale=[0.5, 1.0])
    transform = TRANSFORMS.build(cfg)
    assert transform.size == (32, 64)
    assert 'size=(32, 64)' in repr(transform)
