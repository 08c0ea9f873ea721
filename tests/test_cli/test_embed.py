"""``mmcnv2 embed`` on images of two kinds, whose neighbours are their own kind; started as a user starts it."""

import json
import sys

import cv2
import numpy as np
import pyarrow.parquet
import pytest
import torch
from helpers.commands import call, refusal
from helpers.models import ARCH, build_backbone
from helpers.processes import run


@pytest.fixture
def photos(tmp_path):
    """Images 0, 2, ... are red, 1, 3, ... are stripes; the tenth is damaged. In each there are two objects."""
    generator = np.random.default_rng(0)
    folder = tmp_path / 'photos'
    folder.mkdir()
    images, annotations = [], []
    for i in range(24):
        image = generator.integers(0, 40, (96, 96, 3), dtype=np.uint8)
        image[..., 2] += 200
        if i % 2:
            image[::8] = image[1::8] = image[2::8] = image[3::8] = 255 - image[::8]
        cv2.imwrite(str(folder / f'{i:02}.png'), image)
        images.append(dict(id=i, file_name=f'{i:02}.png', height=96, width=96))
        annotations += [dict(image_id=i, category_id=i % 2, bbox=[x, 20, 32, 40]) for x in (4, 50)]
    (folder / '09.png').write_bytes(b'no image')
    categories = [dict(id=0, name='red'), dict(id=1, name='stripes')]
    content = dict(images=images, annotations=annotations, categories=categories)
    (tmp_path / 'coco.json').write_text(json.dumps(content))
    return folder


@pytest.fixture
def checkpoint(tmp_path):
    torch.save(dict(state_dict=build_backbone(ARCH).state_dict(), meta={}), tmp_path / 'network.pth')
    return tmp_path / 'network.pth'


FAST = ['--image-size', '64', '--batch-size', '8', '--workers', '0', '--device', 'cpu']


@pytest.mark.slow
def test_images_and_their_neighbours(photos, checkpoint, tmp_path, root):
    out, sheet = tmp_path / 'new/out.parquet', tmp_path / 'sheet.png'
    arguments = [
        checkpoint,
        '--images',
        photos,
        '--out',
        out,
        '--sheet',
        sheet,
        '--queries',
        '4',
        '--stages',
        '3',
        '0',
    ]
    done = run(root, sys.executable, '-m', 'mmcnv2', 'embed', *arguments, *FAST)
    assert done.returncode == 0, done.stderr
    assert f'{out}: 23 rows of 24 images, {4 + 16} numbers each' in done.stdout
    table = pyarrow.parquet.read_table(out)
    assert table['path'].to_pylist() == [str(photos / f'{i:02}.png') for i in range(24) if i != 9]
    features = np.array(table['feature'].to_pylist())
    assert features.shape == (23, 20)

    picture = cv2.imread(str(sheet))
    assert picture.shape == (24 + 4 * (128 + 4) - 4, 9 * (112 + 4) - 4, 3)
    # A tile is of the kind of its query: the green of stripes reaches far, that of red does not.
    tiles = [[picture[24 + 132 * i + 8 :][:96, 116 * j + 8 :][:, :96, 1] for j in range(9)] for i in range(4)]
    are_stripes = [[bool(np.median(tile.max(axis=1)) > 150 or tile.mean() > 60) for tile in row] for row in tiles]
    kinds = [i % 2 == 1 for i in (0, 7, 15, 23)]  # rows 0, 7, 14, 22
    assert are_stripes == [[kind] * 9 for kind in kinds]


def test_objects(photos, checkpoint, tmp_path, capsys):
    out, sheet = tmp_path / 'out.parquet', tmp_path / 'sheet.png'
    arguments = [checkpoint, '--images', photos, '--coco', tmp_path / 'coco.json', '--out', out, '--sheet', sheet]
    call('embed', *arguments, *FAST)
    assert f'{out}: 46 rows of 48 objects, 16 numbers each' in capsys.readouterr().out
    rows = pyarrow.parquet.read_table(out).to_pylist()
    assert [row['label'] for row in rows[:4]] == ['red', 'red', 'stripes', 'stripes']
    assert (rows[0]['box'], rows[0]['window']) == ([4, 20, 32, 40], [16, 0, 48, 48])
    assert cv2.imread(str(sheet)).shape == (24 + 8 * (128 + 4) - 4, 9 * (112 + 4) - 4, 3)


def test_bad_input(photos, checkpoint, tmp_path, monkeypatch):
    out = ['--out', tmp_path / 'out.parquet']
    assert 'no such folder' in refusal('embed', checkpoint, '--images', tmp_path / 'nowhere', *out)
    images = ['--images', photos]
    assert 'not found: nowhere' in refusal('embed', checkpoint, *images, '--coco', 'nowhere', *out)
    (tmp_path / 'out.parquet').write_text('something else')
    assert 'out.parquet exists' in refusal('embed', checkpoint, *images, *out, *FAST)
    assert (tmp_path / 'out.parquet').read_text() == 'something else'
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    monkeypatch.setitem(sys.modules, 'pyarrow.parquet', None)
    assert 'pip install pyarrow' in refusal('embed', checkpoint, *images, *out)
