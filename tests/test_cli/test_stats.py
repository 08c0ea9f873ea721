"""mmcnv2 stats against numpy on all pixels at once."""

import json

import numpy as np
import pytest
import tifffile
from helpers.commands import call, refusal

from mmcnv2.datasets import statistics


@pytest.fixture
def scenes(tmp_path):
    """Files of several sizes and formats, with a damaged one; and their pixels, (n, 3)."""
    folder, rng, pixels = tmp_path / 'scenes', np.random.default_rng(0), []
    folder.mkdir()
    for i, shape in enumerate([(20, 30), (9, 17), (40, 8)]):
        array = (rng.gamma(2, 300, (*shape, 3)) * (1, 2, 5)).astype(np.uint16)
        pixels.append(array.reshape(-1, 3))
        if i:
            tifffile.imwrite(folder / f'{i}.tif', array, photometric='minisblack', planarconfig='contig')
        else:
            np.save(folder / f'{i}.npy', array)
    (folder / 'cut.tif').write_bytes((folder / '1.tif').read_bytes()[:300])
    return folder, np.concatenate(pixels)


def stats(folder, tmp_path, *arguments):
    call('stats', folder, '--out', tmp_path / 'stats.json', *arguments)
    return json.loads((tmp_path / 'stats.json').read_text())


def test_equal_to_numpy(scenes, tmp_path, capsys):
    folder, pixels = scenes
    found = stats(folder, tmp_path)
    printed = capsys.readouterr()
    assert 'unreadable: ' in printed.err and 'cut.tif' in printed.err
    assert '3 images, 1 unreadable; uint16 (3); 8-30 x 9-40 (width x height); 3 bands' in printed.out
    assert found['files'] == 3 and found['unreadable'] == [str(folder / 'cut.tif')] and found['bands'] == [0, 1, 2]
    for name in ('mean', 'std', 'min', 'max'):
        np.testing.assert_allclose(found[name], getattr(np, name)(pixels, axis=0), rtol=1e-12)
    for percent, values in found['percentiles'].items():
        np.testing.assert_allclose(values, np.percentile(pixels, float(percent), axis=0), rtol=1e-6)
    low, high = np.percentile(pixels, (0.1, 99.9), axis=0)
    np.testing.assert_allclose(found['value_range'], np.stack([low, high], axis=1), rtol=1e-6)
    scaled = (pixels.clip(low, high) - low) / (high - low) * 255
    np.testing.assert_allclose(found['scaled_mean'], scaled.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found['scaled_std'], scaled.std(axis=0), rtol=1e-5)


def test_bands_are_chosen_and_ordered(scenes, tmp_path):
    folder, pixels = scenes
    found = stats(folder, tmp_path, '--bands', 2, 0)
    assert found['bands'] == [2, 0]
    np.testing.assert_allclose(found['mean'], pixels.mean(axis=0)[[2, 0]])


def test_a_sample_of_many_pixels_is_near(scenes, tmp_path, monkeypatch):
    """And mean and deviation are still those of all."""
    folder, pixels = scenes
    monkeypatch.setattr(statistics, 'SAMPLE', 1200)
    found = stats(folder, tmp_path)
    np.testing.assert_allclose(found['mean'], pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found['percentiles']['50'], np.median(pixels, axis=0), rtol=0.15)


def test_floats_that_are_not_finite_are_counted(tmp_path):
    (tmp_path / 'f').mkdir()
    array = np.arange(60, dtype=np.float32).reshape(5, 6, 2)
    array[0, :4, 1] = (np.nan, np.inf, -np.inf, np.nan)
    np.save(tmp_path / 'f/a.npy', array)
    found = stats(tmp_path / 'f', tmp_path)
    assert found['not_finite'] == [0, 4]
    np.testing.assert_allclose(found['mean'], [29, np.mean([9, 11, *range(13, 60, 2)])])


def test_8_bits_keep_their_scale(tmp_path):
    (tmp_path / 'f').mkdir()
    array = np.random.default_rng(0).integers(0, 99, (9, 9, 3), dtype=np.uint8)
    np.save(tmp_path / 'f/a.npy', array)
    found = stats(tmp_path / 'f', tmp_path)
    assert found['value_range'] == [[0, 255]] * 3
    np.testing.assert_allclose(found['scaled_mean'], found['mean'])


def test_refusals(tmp_path):
    assert 'no such folder' in refusal('stats', tmp_path / 'nowhere')
    (tmp_path / 'empty').mkdir()
    assert 'No images in' in refusal('stats', tmp_path / 'empty')
    np.save(tmp_path / 'a.npy', np.zeros((5, 5, 2)))
    np.save(tmp_path / 'b.npy', np.zeros((5, 5, 3)))
    line = refusal('stats', tmp_path)
    assert 'a.npy has 2 bands' in line and 'b.npy has 3' in line and '--bands' in line
    (tmp_path / 'b.npy').write_bytes(b'')
    (tmp_path / 'a.npy').write_bytes(b'')
    assert 'none of 2 files can be read, for instance' in refusal('stats', tmp_path)
