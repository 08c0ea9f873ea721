"""Image files of every kind and damage in one folder: each is predicted or reported, and none ends the rest."""

import cv2
import numpy as np
import pytest
from helpers.pictures import DAMAGED, KINDS, encode
from helpers.recipes import recipe_with_weights

from mmcnv2.apis import Predictor
from mmcnv2.datasets import LoadRGBImage, UnreadableImageError

SUFFIXES = dict(JPEG='jpg', TIFF='tif', GIF='png')  # folders are searched for images, which GIF files are not
SIZES = ((64, 48), (1, 1))
FLIPS = 4  # files with flipped bits, of each damaged kind


def suffix(kind):
    return SUFFIXES.get(kind, kind.lower())


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Good files, files that are cut off, and files with flipped bits, which may still be readable."""
    folder, random = tmp_path_factory.mktemp('files'), np.random.default_rng(0)
    for name in ('good', 'cut', 'flipped'):
        (folder / name).mkdir()
    for kind, mode in KINDS:
        for size in SIZES:
            data, _ = encode(kind, mode, size)
            (folder / f'good/{kind}-{mode.replace(";", "")}-{size[0]}.{suffix(kind)}').write_bytes(data)
    for i, (kind, mode, options) in enumerate(DAMAGED):
        data, _ = encode(kind, mode, (48, 64), **options)
        for share in (0.0, 0.02, 0.5, 0.8):
            (folder / f'cut/{i}-{share}.{suffix(kind)}').write_bytes(data[: int(share * len(data))])
        for number in range(FLIPS):
            damaged = bytearray(data)
            for bit in random.integers(0, 8 * len(data), size=8):
                damaged[bit // 8] ^= 1 << bit % 8
            (folder / f'flipped/{i}-{number}.{suffix(kind)}').write_bytes(damaged)
    (folder / 'good/empty.txt').write_text('not an image, and not taken for one')
    return folder


@pytest.mark.filterwarnings('ignore')  # of Pillow, on damaged files
@pytest.mark.parametrize('name', ['mask-rcnn', 'upernet', 'fcmae'])
def test_each_file_is_predicted_or_reported(tmp_path, folder, name):
    predictor = Predictor(*recipe_with_weights(f'toy/{name}_convnextv2-atto_toy-scenes', tmp_path))
    results, errors = {}, {}
    for result in predictor(folder, batch_size=4, on_error=lambda path, error: errors.update({path: error})):
        results[result.path] = result
    files = {str(path) for path in folder.rglob('*.*') if path.suffix != '.txt'}
    assert results.keys() | errors.keys() == files and not results.keys() & errors.keys()
    kinds = {kind: {path for path in files if f'/{kind}/' in path} for kind in ('good', 'cut', 'flipped')}
    assert kinds['good'] <= results.keys()
    assert kinds['cut'] <= errors.keys()
    assert errors.keys() & kinds['flipped'] and results.keys() & kinds['flipped']  # some of each
    assert all(isinstance(error, UnreadableImageError) and error.reason for error in errors.values())
    for path in kinds['good']:
        image = results[path].image
        assert results[path].draw().dtype == np.uint8
        if '.tif' not in path:  # OpenCV blends a TIFF that has alpha with black
            expected = LoadRGBImage()(dict(img_path=path))['img']
            difference = cv2.absdiff(image, expected)
            assert difference.max() <= (3 if path.endswith('.jpg') else 0), path
