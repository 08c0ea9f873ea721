"""The toy scenes: the same bytes every time, and three kinds of label that agree."""

import inspect
import json
import sys
from argparse import ArgumentParser
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.launching import launch
from pycocotools.coco import COCO

from mmcnv2.cli import make_toy_scenes
from mmcnv2.toy_scenes import CLASSES, render_scene, write_toy_scenes
from mmcnv2.toy_scenes.objects import random_rotation, random_shape
from mmcnv2.toy_scenes.scene import MIN_PIXELS, MIN_VISIBLE
from mmcnv2.toy_scenes.tracing import march, normals
from mmcnv2.visualization.toy_scenes import write_preview

SMALL = dict(num_unlabelled=3, num_train=6, num_val=5, image_size=64)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


@pytest.fixture(scope='module')
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('toy') / 'scenes'
    assert write_toy_scenes(folder, **SMALL, workers=1)
    return folder


@pytest.fixture(scope='module')
def scenes() -> list:
    return [render_scene(i, 'train') for i in range(60)]


def test_layout(written):
    names = set(contents(written))
    expected = {f'unlabelled/{i:06d}.jpg' for i in range(3)}
    for split, count in (('train', 6), ('val', 5)):
        expected |= {f'{split}/{i:06d}.jpg' for i in range(count)}
        expected |= {f'semantic/{split}/{i:06d}.png' for i in range(count)}
        expected.add(f'annotations/instances_{split}.json')
    assert names == expected | {'toy_scenes.json'}
    assert cv2.imread(str(written / 'unlabelled/000000.jpg')).shape == (64, 64, 3)


@pytest.mark.slow
def test_same_bytes_with_two_workers(written, tmp_path):
    write_toy_scenes(tmp_path / 'again', **SMALL, workers=2)
    assert contents(tmp_path / 'again') == contents(written)


def test_seeds_splits_and_images_differ():
    base = render_scene(0, 'train', seed=0, image_size=64).image
    np.testing.assert_array_equal(base, render_scene(0, 'train', seed=0, image_size=64).image)
    for other in (
        render_scene(0, 'train', seed=1, image_size=64),
        render_scene(0, 'val', seed=0, image_size=64),
        render_scene(1, 'train', seed=0, image_size=64),
    ):
        assert np.abs(base.astype(int) - other.image).mean() > 10


@pytest.mark.parametrize('split', ['train', 'val'])
def test_annotations_agree_with_label_maps(written, split):
    coco = COCO(written / f'annotations/instances_{split}.json')
    assert [(c['id'], c['name']) for c in coco.loadCats(coco.getCatIds())] == list(enumerate(CLASSES, 1))
    assert len(coco.imgs) == SMALL[f'num_{split}'] and len(coco.anns) >= len(coco.imgs)
    for image in coco.imgs.values():
        stem = Path(image['file_name']).stem
        label_map = cv2.imread(str(written / f'semantic/{split}/{stem}.png'), cv2.IMREAD_UNCHANGED)
        assert label_map.dtype == np.uint8 and label_map.shape == (image['height'], image['width'])
        rebuilt = np.zeros_like(label_map)
        for ann in coco.loadAnns(coco.getAnnIds(imgIds=[image['id']])):
            mask = coco.annToMask(ann).astype(bool)
            assert not rebuilt[mask].any(), 'visible parts must not overlap'
            rebuilt[mask] = ann['category_id']
            rows, columns = np.nonzero(mask)
            x, y, w, h = ann['bbox']
            assert (x, y) == (columns.min(), rows.min())
            assert (x + w, y + h) == (columns.max() + 1, rows.max() + 1)
            assert ann['area'] == mask.sum() and ann['iscrowd'] == 0
        np.testing.assert_array_equal(rebuilt, label_map)


def test_objects_are_visible_and_classes_balanced(scenes):
    counts = np.zeros(len(CLASSES))
    for scene in scenes:
        assert scene.image.shape == (128, 128, 3)
        assert 1 <= len(scene.labels) <= 3
        pixels = np.bincount(scene.instances.ravel(), minlength=len(scene.labels) + 1)[1:]
        assert (pixels >= MIN_PIXELS).all() and min(scene.visible) >= MIN_VISIBLE
        for label in scene.labels:
            counts[label - 1] += 1
    assert {len(scene.labels) for scene in scenes} == {1, 2, 3}
    # 135 objects: an even split is 22 or 23 each, with a standard deviation of 4.
    assert counts.min() > 0.5 * counts.mean() and counts.max() < 1.6 * counts.mean()
    assert any(min(scene.visible) < 0.7 for scene in scenes), 'some objects must be occluded'


def test_object_sizes(scenes):
    """A sphere around an object measures 60 to 112 pixels of 128.

    The object fills the sphere in part, and looks larger where it comes nearer to the camera.
    """
    sides = []
    for scene in scenes:
        for k, visible in enumerate(scene.visible):
            if visible > 0.99:
                sides.append(max(cv2.boundingRect((scene.instances == k + 1).astype(np.uint8))[2:]))
    assert len(sides) > 20
    assert min(sides) > 30 and max(sides) <= 118
    assert 60 < np.median(sides) < 80


def test_objects_scale_with_the_image():
    for i in range(6):
        small, large = render_scene(i, 'val', image_size=64), render_scene(i, 'val', image_size=128)
        assert small.labels == large.labels
        enlarged = np.kron(small.instances, np.ones((2, 2), dtype=np.uint8))
        assert (enlarged == large.instances).mean() > 0.975


def test_colour_hints_at_the_class_but_is_not_enough(scenes):
    """The nearest class mean of an object's average colour guesses many classes, far from all."""
    colours, labels = [], []
    for scene in scenes:
        for k, label in enumerate(scene.labels):
            colours.append(scene.image[scene.instances == k + 1].mean(0))
            labels.append(label)
    lab = cv2.cvtColor(np.array(colours, dtype=np.float32)[None] / 255, cv2.COLOR_RGB2Lab)[0]
    labels = np.array(labels)
    fit = np.arange(len(labels)) % 2 == 0
    means = np.stack([lab[fit & (labels == c)].mean(0) for c in range(1, 7)])
    guess = np.linalg.norm(lab[~fit][:, None] - means, axis=2).argmin(1) + 1
    assert 0.5 < (guess == labels[~fit]).mean() < 0.9


def test_objects_differ_from_what_is_behind_them(scenes):
    """Labels lie on the drawn objects: edges are stronger on outlines than elsewhere."""
    on, off = [], []
    for scene in scenes:
        gray = cv2.cvtColor(scene.image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        edge = np.hypot(cv2.Sobel(gray, -1, 1, 0), cv2.Sobel(gray, -1, 0, 1))
        ids = scene.instances
        outline = cv2.dilate(ids, np.ones((3, 3))) != cv2.erode(ids, np.ones((3, 3)))
        on.append(edge[outline].mean())
        off.append(edge[~outline].mean())
    assert np.mean(on) > 1.5 * np.mean(off)


@pytest.mark.parametrize('size', [32, 128, 160])
def test_sizes(size):
    scene = render_scene(3, 'val', image_size=size)
    assert scene.image.shape == (size, size, 3) and scene.image.dtype == np.uint8
    assert scene.semantic.shape == (size, size) and scene.semantic.dtype == np.uint8


@pytest.mark.parametrize('size', [0, -32, 100])
def test_wrong_size_is_refused(size, tmp_path):
    with pytest.raises(ValueError, match=f'got {size}'):
        render_scene(0, image_size=size)
    with pytest.raises(ValueError, match=f'got {size}'):
        write_toy_scenes(tmp_path / 'x', image_size=size)
    assert not (tmp_path / 'x').exists()


def test_second_write_does_nothing(written):
    before = {p: p.stat().st_mtime_ns for p in written.rglob('*')}
    assert not write_toy_scenes(written, **SMALL)
    assert {p: p.stat().st_mtime_ns for p in written.rglob('*')} == before


def test_interrupted_write_is_completed(written, tmp_path, monkeypatch):
    from mmcnv2.toy_scenes import writer

    def fail_late(index, split, seed, image_size):
        if (split, index) == ('val', 2):
            raise KeyboardInterrupt
        return render_scene(index, split, seed, image_size)

    folder = tmp_path / 'scenes'
    monkeypatch.setattr(writer, 'render_scene', fail_late)
    with pytest.raises(KeyboardInterrupt):
        write_toy_scenes(folder, **{**SMALL, 'num_train': 8}, workers=1)
    assert not (folder / 'toy_scenes.json').exists() and (folder / 'train/000007.jpg').exists()
    monkeypatch.undo()
    # Fewer images than the interrupted write asked for: its surplus must not stay.
    assert write_toy_scenes(folder, **SMALL, workers=1)
    assert contents(folder) == contents(written)


def test_other_parameters_and_foreign_files(written, tmp_path):
    tiny = dict(num_unlabelled=1, num_train=1, num_val=1, image_size=64, workers=1)
    folder = tmp_path / 'scenes'
    write_toy_scenes(folder, **tiny)
    (folder / 'train/mine.txt').write_text('keep')
    before = contents(folder)
    with pytest.raises(FileExistsError, match=r'scenes.*seed 0 \(wanted 5\).*--force'):
        write_toy_scenes(folder, **tiny, seed=5)
    assert contents(folder) == before
    assert write_toy_scenes(folder, **tiny, seed=5, force=True)
    after = contents(folder)
    assert after['train/000000.jpg'] != before['train/000000.jpg']
    assert after['train/mine.txt'] == b'keep'
    # A file of the same name that we did not write is neither overwritten nor deleted.
    other = tmp_path / 'other'
    (other / 'train').mkdir(parents=True)
    (other / 'train/000000.jpg').write_text('photo')
    for force in (False, True):
        with pytest.raises(FileExistsError, match='not written by this tool'):
            write_toy_scenes(other, **tiny, force=force)
    assert contents(other) == {'train/000000.jpg': b'photo'}


@pytest.mark.parametrize('name', [*CLASSES, 'lump', 'stick'])
def test_rays_meet_the_surface(name):
    """Hits lie on the surface with normals towards the viewer, inside ``bound`` and ``reach``."""
    rng = np.random.default_rng(3)
    for _ in range(4):
        shape, rotation = random_shape(name, rng), random_rotation(name, rng)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
        origin = rotation @ np.array([[0], [0], [6]], dtype=np.float32)
        target = rng.uniform(-1, 1, (3, 1500)).astype(np.float32)
        direction = target - origin
        direction /= np.linalg.norm(direction, axis=0)
        index, t = march(shape, origin, direction)
        assert len(index) > 50
        p = origin + direction[:, index] * t
        assert np.abs(shape.sdf(p)).max() < 0.01
        # A ray that grazes a sharp edge may end on its far side, by less than the tolerance.
        away = (normals(shape, p) * direction[:, index]).sum(0) > 0.2
        assert away.mean() < 0.02
        assert np.linalg.norm(p, axis=0).max() <= shape.bound + 0.02
        for n in rng.normal(size=(5, 3)):
            n /= np.linalg.norm(n)
            assert (n @ p).max() <= shape.reach(n) + 0.03


@pytest.mark.slow
def test_command_line(root, tmp_path):
    """The tool writes what the function writes, and loads no heavy package to do so."""
    code = (
        'import runpy, sys; sys.argv = sys.argv[1:]; '
        "runpy.run_path(sys.argv[0], run_name='__main__'); "
        "print(sorted({'mmdet', 'mmseg', 'skimage', 'matplotlib'} & set(sys.modules)))"
    )
    numbers = ['--num-unlabelled', '1', '--num-train', '2', '--num-val', '1', '--image-size', '64', '--seed', '7']
    tool = 'tools/dataset_tools/make_toy_scenes.py'
    done = launch(root, sys.executable, '-c', code, tool, '--out', tmp_path / 'a', *numbers)
    assert done.stdout.split() == ['wrote', str(tmp_path / 'a'), '[]']
    write_toy_scenes(tmp_path / 'b', 1, 2, 1, image_size=64, seed=7, workers=1)
    assert contents(tmp_path / 'a') == contents(tmp_path / 'b')


def test_command_line_defaults_are_those_of_the_function():
    parser = ArgumentParser()
    make_toy_scenes.add_arguments(parser)
    options = vars(parser.parse_args([]))
    assert options.pop('preview') is None
    assert options == {name: p.default for name, p in inspect.signature(write_toy_scenes).parameters.items()}


def test_preview(tmp_path):
    path = tmp_path / 'new/preview.png'
    write_preview(str(path), seed=0, image_size=64, count=4, columns=2)
    sheet = cv2.imread(str(path))[..., ::-1]
    assert sheet.shape == (2 * 256 + 4, 4 * 256 + 3 * 4, 3)
    for i in range(4):
        scene = render_scene(i, 'train', image_size=64)
        top, left = i // 2 * 260, i % 2 * 520
        plain = sheet[top : top + 256, left : left + 256]
        labelled = sheet[top : top + 256, left + 260 : left + 516]
        np.testing.assert_array_equal(plain, cv2.resize(scene.image, (256, 256), interpolation=cv2.INTER_CUBIC))
        changed = (labelled != plain).any(-1)
        objects = np.kron(scene.instances, np.ones((4, 4), dtype=np.uint8)) > 0
        assert changed[objects].mean() > 0.95 and changed[~objects].mean() < 0.25


def test_metadata(written):
    meta = json.loads((written / 'toy_scenes.json').read_text())
    assert meta == {'generator_version': 2, 'seed': 0, **SMALL}
