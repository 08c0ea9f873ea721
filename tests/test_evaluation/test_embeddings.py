"""Rows of feature vectors: against the backbone itself, stopped and continued, and neighbours by the full matrix."""

import json

import cv2
import numpy as np
import pyarrow.parquet
import pytest
import torch
from helpers.models import ARCH, build_backbone

from mmcnv2.evaluation import embeddings
from mmcnv2.evaluation.embeddings import Item, nearest, read_objects, read_rows, write_embeddings
from mmcnv2.evaluation.features import Sample
from mmcnv2.models.normalization import IMAGENET, Normalization
from mmcnv2.utils.errors import ExistingFileError, InputError, MissingFileError

OPTIONS = dict(image_size=32, batch_size=2, items_per_part=3)


@pytest.fixture
def images(tmp_path):
    """Seven images of 64 pixels, of which the fifth is damaged."""
    generator = np.random.default_rng(0)
    paths = [tmp_path / f'images/{i}.png' for i in range(7)]
    paths[0].parent.mkdir()
    for path in paths:
        # Of one colour each, so that resizing and cropping change nothing.
        cv2.imwrite(str(path), np.tile(generator.integers(0, 256, 3, dtype=np.uint8), (64, 64, 1)))
    paths[4].write_bytes(b'no image')
    return paths


def items(paths):
    return [Item(Sample(str(path))) for path in paths]


def features(backbone, path):
    """By the backbone alone."""
    image = torch.from_numpy(cv2.imread(str(path))[16:48, 16:48, ::-1].astype(np.float32))
    image = (image - torch.tensor(backbone.normalization.mean)) / torch.tensor(backbone.normalization.std)
    maps = backbone(image.permute(2, 0, 1)[None])
    return torch.cat([map_.mean(dim=(2, 3)) for map_ in maps], dim=1)[0].detach().numpy()


def test_rows_hold_what_the_backbone_computes(images, tmp_path):
    backbone = build_backbone(ARCH, out_indices=(1, 3)).eval()
    out = tmp_path / 'new/out.parquet'
    assert write_embeddings(backbone, items(images), out, dict(stages=[1, 3]), **OPTIONS) == 6
    table = pyarrow.parquet.read_table(out)
    readable = images[:4] + images[5:]
    assert table['path'].to_pylist() == [str(path) for path in readable]
    assert table.schema.names == ['path', 'feature']
    assert str(table.schema.field('feature').type).startswith('list<') and 'float' in str(
        table.schema.field('feature')
    )
    for row, path in zip(table['feature'].to_pylist(), readable, strict=True):
        assert row == pytest.approx(features(backbone, path), rel=1e-3, abs=1e-4)
    settings = json.loads(table.schema.metadata[b'mmcnv2'])
    assert settings['stages'] == [1, 3] and settings['normalization'] == [[*IMAGENET.mean], [*IMAGENET.std]]
    assert sorted(path.name for path in out.parent.iterdir()) == ['out.parquet']


def test_a_stopped_run_goes_on(images, tmp_path, monkeypatch):
    """Stopped within the second part: the first is kept as it is, the result is that of a run that was not stopped."""
    backbone = build_backbone(ARCH).eval()
    out, whole = tmp_path / 'out.parquet', tmp_path / 'whole.parquet'
    write_embeddings(backbone, items(images), whole, {}, **OPTIONS)

    calls = []
    original = embeddings.pooled_features

    def stop(backbone, samples, *args):
        calls.append(len(samples))
        batches = original(backbone, samples, *args)
        if len(calls) == 2:
            yield next(batches)
            raise KeyboardInterrupt
        yield from batches

    monkeypatch.setattr(embeddings, 'pooled_features', stop)
    with pytest.raises(KeyboardInterrupt):
        write_embeddings(backbone, items(images), out, {}, **OPTIONS)
    (first,) = (tmp_path / 'out.parquet.parts').iterdir()
    written = first.stat().st_mtime_ns
    assert not out.exists()

    other = build_backbone(ARCH, out_norm=False).eval()
    for changed in [
        (other, items(images), {}),
        (backbone, items(images[1:]), {}),
        (backbone, items(images), dict(a=1)),
    ]:
        with pytest.raises(ExistingFileError, match='parts of another run'):
            write_embeddings(*changed[:2], out, changed[2], **OPTIONS)
    assert first.stat().st_mtime_ns == written and len(calls) == 2

    assert write_embeddings(backbone, items(images), out, {}, **OPTIONS) == 6
    assert calls[2:] == [3, 1]
    assert out.read_bytes() == whole.read_bytes()
    assert write_embeddings(backbone, items(images), out, {}, **OPTIONS) == 6  # nothing to do
    assert len(calls) == 4
    with pytest.raises(ExistingFileError, match='choose another name'):
        write_embeddings(other, items(images), out, {}, **OPTIONS)
    assert out.read_bytes() == whole.read_bytes()


def test_images_that_are_normalised_otherwise_are_other_rows(images, tmp_path):
    backbone = build_backbone(ARCH).eval()
    out, grey = tmp_path / 'out.parquet', tmp_path / 'grey.parquet'
    write_embeddings(backbone, items(images), out, {}, **OPTIONS)
    assert write_embeddings(backbone, items(images), out, {}, **OPTIONS) == 6  # is there already
    backbone.normalization = Normalization((45.0,) * 3, (70.0,) * 3)
    with pytest.raises(ExistingFileError, match='choose another name'):
        write_embeddings(backbone, items(images), out, {}, **OPTIONS)
    write_embeddings(backbone, items(images), grey, {}, **OPTIONS)
    first = pyarrow.parquet.read_table(grey)['feature'][0].as_py()
    assert first == pytest.approx(features(backbone, images[0]), rel=1e-3, abs=1e-4)


def test_no_image_can_be_read(images, tmp_path):
    with pytest.raises(InputError, match=r'none of 1 images can be read, for instance .*4\.png'):
        write_embeddings(build_backbone(ARCH).eval(), items(images[4:5]), tmp_path / 'out.parquet', {}, **OPTIONS)
    assert not (tmp_path / 'out.parquet').exists()


def coco(path, **changes):
    content = dict(
        images=[
            dict(id=1, file_name='1.png', height=64, width=64),
            dict(id=0, file_name='0.png', height=64, width=64),
        ],
        categories=[dict(id=3, name='cat'), dict(id=4, name='dog')],
        annotations=[
            dict(image_id=1, category_id=4, bbox=[10.5, 20, 20, 10]),
            dict(image_id=0, category_id=3, bbox=[0, 0, 5, 10]),
            dict(image_id=1, category_id=3, bbox=[0, 0, 64, 64], iscrowd=1),
            dict(image_id=1, category_id=3, bbox=[5, 5, 0, 10]),
        ],
    )
    path.write_text(json.dumps(content | changes))
    return str(path)


def test_objects(images, tmp_path):
    found = read_objects(coco(tmp_path / 'coco.json'), str(images[0].parent))
    assert [(item.sample.path, item.box, item.label) for item in found] == [
        (str(images[0]), (0, 0, 5, 10), 'cat'),
        (str(images[1]), (10.5, 20, 20, 10), 'dog'),
    ]
    backbone = build_backbone(ARCH).eval()
    assert write_embeddings(backbone, found, tmp_path / 'out.parquet', {}, **OPTIONS) == 2
    rows = pyarrow.parquet.read_table(tmp_path / 'out.parquet').to_pylist()
    assert [(row['box'], row['label']) for row in rows] == [([0, 0, 5, 10], 'cat'), ([10.5, 20, 20, 10], 'dog')]
    assert rows[1]['window'] == [13, 8, 24, 24]  # around (20.5, 25), 1.2 times the longer side
    assert rows[1]['feature'] == pytest.approx(features(backbone, images[1]), rel=1e-3, abs=1e-4)


def test_bad_annotation_files(tmp_path):
    with pytest.raises(MissingFileError, match='not found: absent'):
        read_objects('absent', '')
    with pytest.raises(InputError, match='has no objects'):
        read_objects(coco(tmp_path / 'coco.json', annotations=[]), '')
    with pytest.raises(InputError, match="not in COCO's format: KeyError: 3"):
        read_objects(coco(tmp_path / 'coco.json', categories=[]), '')


def test_nearest_are_those_of_the_full_matrix(tmp_path, monkeypatch):
    """The file is read in pieces of a few rows."""
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((50, 6)).astype(np.float32)
    vectors[30] = 3 * vectors[7]
    out = tmp_path / 'out.parquet'
    pairs = [(Sample(f'{i}.png'), row) for i, row in enumerate(vectors)]
    monkeypatch.setattr(embeddings, 'PIECE', 5)
    monkeypatch.setattr(
        embeddings,
        'pooled_features',
        lambda backbone, samples, *args: [
            (torch.arange(len(samples)), torch.tensor(vectors[[int(s.path[:-4]) for s in samples]]))
        ],
    )
    write_embeddings(build_backbone(ARCH), [Item(sample) for sample, _ in pairs], out, {}, items_per_part=7)
    queries = [7, 0, 49]
    rows, cosines = nearest(out, queries, 8)
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors, axis=1, keepdims=True)
    matrix = unit @ unit.T
    np.fill_diagonal(matrix, -np.inf)
    expected = np.argsort(-matrix[queries], axis=1)[:, :8]
    assert rows.tolist() == expected.tolist() and rows[0, 0] == 30
    np.testing.assert_allclose(cosines, np.take_along_axis(matrix[queries], expected, 1), atol=1e-6)
    assert nearest(out, queries, 100)[0].shape == (3, 49)
    assert read_rows(out, [30, 2, 30])['path'] == ['30.png', '2.png', '30.png']
