"""Pictures of three bands of any image, against values worked out by hand."""

import numpy as np
import pytest

from mmcnv2.utils.errors import InputError
from mmcnv2.visualization import composite
from mmcnv2.visualization.composite import choose_bands


def test_which_bands():
    assert choose_bands(1) == choose_bands(2) == (0, 0, 0)
    assert choose_bands(3) == choose_bands(13) == (0, 1, 2)
    assert choose_bands(6, [5, 2, 0]) == (5, 2, 0) and choose_bands(6, [4]) == (4, 4, 4)
    for bands in ([0, 1], [0, 1, 6], [-1]):
        with pytest.raises(InputError, match='must be 1 or 3 of 0 to 5'):
            choose_bands(6, bands)


def test_8_bits_stay_as_they_are():
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    np.testing.assert_array_equal(composite(image, [3, 0, 1]), image[..., [3, 0, 1]])
    np.testing.assert_array_equal(composite(image.astype(np.float32)), image[..., :3])


def test_other_scales_are_stretched_band_by_band():
    ramp = np.linspace(0, 100, 101).reshape(1, -1)
    image = np.stack([ramp * 40, ramp / 100 - 5, np.full_like(ramp, 7)], axis=-1)
    expected = ((ramp - 2) / 96 * 255).clip(0, 255).round()
    drawn = composite(image)
    np.testing.assert_array_equal(drawn[..., 0], expected)
    np.testing.assert_array_equal(drawn[..., 1], expected)
    assert (drawn[..., 2] == 0).all()  # constant


def test_what_is_not_finite_is_black():
    image = np.full((4, 4, 1), 500.0)
    image[0, 0], image[1], image[2] = np.nan, 1000, 0
    drawn = composite(image)
    assert (drawn[0, 0] == 0).all() and (drawn[1] == 255).all()
