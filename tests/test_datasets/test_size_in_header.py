"""The size of an image before it is decoded: as decoding says, and of bombs without decoding them."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
import tifffile
from helpers.pictures import KINDS, picture, png_that_claims
from PIL import Image

from mmcnv2.datasets import BandFile, UnreadableImageError
from mmcnv2.datasets.bands import size_in_header


def encoded(save, *args, **kwargs):
    file = io.BytesIO()
    save(file, *args, **kwargs)
    return file.getvalue()


@pytest.mark.parametrize(('kind', 'mode'), KINDS)
def test_pictures(kind, mode):
    data = encoded(picture(mode)[0].save, kind)
    height, width, _ = size_in_header(data)
    file = BandFile('a', data)
    assert (height, width) == (file.height, file.width) == (13, 7)


@pytest.mark.parametrize(
    ('array', 'size'),
    [
        (np.zeros((6, 40, 50), np.uint16), (40, 50, 6 * 40 * 50 * 2)),
        (np.zeros((40, 50, 5), np.float32), (40, 50, 40 * 50 * 5 * 4)),
        (np.zeros((40, 50)), (40, 50, 40 * 50 * 8)),
    ],
)
def test_arrays(array, size):
    assert size_in_header(encoded(np.save, array)) == size
    height, width, count = size_in_header(encoded(np.savez_compressed, a=array))
    assert (height, width) == size[:2] and size[2] <= count <= size[2] + 256  # and the header of the array


def test_tiff_of_six_pages():
    data = encoded(tifffile.imwrite, np.zeros((6, 40, 50), np.uint16), photometric='minisblack')
    assert size_in_header(data) == (40, 50, 6 * 40 * 50 * 2)


def test_bombs_are_not_decoded():
    png = png_that_claims(4000, 4000)
    npz = encoded(np.savez_compressed, a=np.zeros((4000, 4000, 3), np.uint8))
    tracemalloc.start()
    try:
        assert size_in_header(png) == (4000, 4000, 48_000_000)
        assert size_in_header(npz)[:2] == (4000, 4000)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    with pytest.raises(Image.DecompressionBombError):
        size_in_header(png_that_claims(60_000, 60_000))


def test_more_in_an_archive_than_its_array_says():
    """The member is padded: NumPy would not read it, and its bytes count all the same."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a.npy', encoded(np.save, np.zeros((4, 5))) + bytes(1_000_000))
    assert size_in_header(file.getvalue())[2] > 1_000_000


@pytest.mark.parametrize(
    'data',
    [
        b'',
        b'text',
        b'II*\0rest',
        b'\x93NUMPY\x01',
        b'PK\x03\x04',
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        # Pillow gives PostScript to another program.
        b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n',
    ],
)
def test_what_is_no_image(data):
    with pytest.raises(UnreadableImageError, match=r"^'the image': "):
        size_in_header(data)
