"""``mmcnv2 diversity`` on a network whose channels were made equal, started as a user starts it."""

import json
import sys

import cv2
import numpy as np
import pytest
import torch
from helpers.commands import refusal
from helpers.models import ARCH, OTHER_ARCH, build_backbone, build_fcmae
from helpers.processes import run
from mmengine.registry import MODELS

from mmcnv2.apis import get_backbone
from mmcnv2.evaluation.diversity import DiversityProbe
from mmcnv2.evaluation.features import Sample, image_batches, pool


@pytest.fixture
def photos(tmp_path):
    """Five images in two folders, one of which is damaged."""
    generator = np.random.default_rng(0)
    for name in ('a/0.png', 'a/1.png', 'b/c/2.png', 'b/3.png'):
        path = tmp_path / 'photos' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), generator.integers(0, 256, (90, 120, 3), dtype=np.uint8))
    (tmp_path / 'photos/b/0.png').write_bytes(b'no image')
    return tmp_path / 'photos'


def save(model, path):
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return path


@pytest.mark.slow
def test_a_collapsed_network_beside_others(photos, tmp_path, root):
    good = save(build_fcmae(ARCH), tmp_path / 'good.pth')
    first = save(MODELS.build(dict(type='mmcnv2.ConvNeXt', arch=OTHER_ARCH)), tmp_path / 'v1.pth')
    collapsed = build_fcmae(ARCH)
    expansion = collapsed.backbone.stages[2][0].pwconv1
    for tensor in (expansion.weight.data, expansion.bias.data):
        tensor[:] = tensor[:1]
    bad = save(collapsed, tmp_path / 'bad.pth')
    arguments = ['--images', photos, '--image-size', '64', '--batch-size', '3', '--workers', '0', '--device', 'cpu']
    outputs = ['--json', tmp_path / 'out/d.json', '--picture', tmp_path / 'out/d.png']
    done = run(root, sys.executable, '-m', 'mmcnv2', 'diversity', good, bad, first, *arguments, *outputs)
    assert done.returncode == 0, done.stderr
    assert f'\n4 images of {photos}\n' in done.stdout
    assert done.stdout.count('photos/b/0.png') == 1  # the damaged one, in a warning

    content = json.loads((tmp_path / 'out/d.json').read_text())
    networks = content['networks']
    assert [*networks][:3] == [str(good), str(bad), str(first)]
    assert [name.split()[2] for name in [*networks][3:]] == ['(ConvNeXtV2', '(ConvNeXt']
    assert content['normalization'].keys() == networks.keys()
    assert (content['num_images'], content['image_size'], content['place']) == (4, 64, 'before GRN')
    distances = {name: {row['layer']: row['distance'] for row in rows} for name, rows in networks.items()}
    assert distances[str(bad)]['stages.2.0'] == pytest.approx(0, abs=1e-5)
    assert min(d for rows in distances.values() for d in rows.values() if d > 1e-5) > 0.05
    assert f'{bad}: distance' in done.stdout and 'lowest 0.000 in stages.2.0' in done.stdout

    backbone = get_backbone(str(good))
    with DiversityProbe(backbone) as probe:
        for _, images in image_batches([Sample(str(path)) for path in sorted(photos.rglob('*.png'))], 64):
            pool(backbone, images)
    expected = [layer._asdict() for layer in probe.result()]
    for row, other in zip(networks[str(good)], expected, strict=True):
        assert row.pop('layer') == other.pop('layer')
        assert row == pytest.approx(other, rel=1e-5)

    picture = cv2.imread(str(tmp_path / 'out/d.png'))
    colours = picture.reshape(-1, 3)[np.ptp(picture.reshape(-1, 3), axis=1) > 100]
    assert len(np.unique(colours // 64, axis=0)) >= 3  # curves of three checkpoints; random weights are grey


def test_bad_input(photos, tmp_path):
    network = save(build_backbone(ARCH), tmp_path / 'network.pth')
    assert 'no such folder' in refusal('diversity', network, '--images', tmp_path / 'nowhere')
    assert '--max-images must be positive' in refusal('diversity', network, '--images', photos, '--max-images', 0)
    options = ['--images', photos, '--workers', 0]
    assert 'divisible by 32, got 50x50' in refusal('diversity', network, *options, '--image-size', 50)
    assert 'device must be one of' in refusal('diversity', network, *options, '--device', 'tpu')
    for path in photos.rglob('*.png'):
        path.write_bytes(b'no image')
    assert 'none of 5 images can be read' in refusal('diversity', network, *options)
