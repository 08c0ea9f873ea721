"""docs/how_to/bands.md from end to end, on made scenes of six bands of uint16: its configs as they are."""

import json
import re

import cv2
import numpy as np
import pytest
import tifffile
import torch
from helpers.commands import call
from helpers.launching import launch_forked
from helpers.training import load, scalars
from mmengine.config import Config

from mmcnv2.datasets import LoadImage
from mmcnv2.registry import MODELS

SHORT = {
    'fcmae_bands': ['train_cfg.max_epochs=1', 'train_dataloader.batch_size=8', 'default_hooks.checkpoint.interval=1'],
    'upernet_bands': ['train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=2'],
    'mask_rcnn_bands': ['train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'train_dataloader.batch_size=2'],
}
COMMON = [
    'default_hooks.logger.interval=1',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
]
FEW = 'default_hooks.checkpoint.interval=2'
SCALES = np.array([16, 12, 8, 4, 2, 1], dtype=np.uint16)  # of the bands: 12 bits down to 8


@pytest.fixture(scope='module')
def folder(root, toy_scenes, tmp_path_factory):
    """Six-band copies of the toy scenes, statistics, weights of RGB, and the configs of the page, with their paths."""
    folder = tmp_path_factory.mktemp('bands')
    for path in toy_scenes.rglob('*.jpg'):
        image = cv2.imread(str(path)).astype(np.uint16)
        bands = np.concatenate([image, 255 - image], axis=-1) * SCALES
        target = (folder / 'scenes' / path.relative_to(toy_scenes)).with_suffix('.tif')
        target.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(target, np.moveaxis(bands, -1, 0))
    (folder / 'scenes/semantic').symlink_to(toy_scenes / 'semantic')
    (folder / 'scenes/annotations').mkdir()
    for path in (toy_scenes / 'annotations').iterdir():
        (folder / 'scenes/annotations' / path.name).write_text(path.read_text().replace('.jpg"', '.tif"'))
    torch.manual_seed(0)
    rgb = MODELS.build(dict(type='ConvNeXtV2', arch='atto', out_norm=False))
    torch.save(rgb.state_dict(), folder / 'rgb.pth')
    call('stats', folder / 'scenes/unlabelled', '--out', folder / 'stats.json')

    page = (root / 'docs/how_to/bands.md').read_text()
    for name, code in re.findall(r'^`(\w+)\.py`[^`]*?(?:`[^`]+`[^`]*?)*```python\n(.*?)```', page, re.M | re.S):
        for path in ('scenes/', 'stats.json', 'work_dirs/', 'rgb.pth'):
            code = code.replace(f"'{path}", f"'{folder}/{path}")
        (folder / f'{name}.py').write_text(code.replace('epoch_9', 'epoch_1'))
    return folder


def run(root, folder, name, *arguments, command='train'):
    options = [*SHORT[name], *COMMON, *([] if name.startswith('fcmae') else [FEW])] if command == 'train' else []
    options = ['--cfg-options', *options] if options else []
    work_dir = folder / 'work_dirs' / name
    return launch_forked(
        root, f'tools/{command}.py', folder / f'{name}.py', *arguments, '--work-dir', work_dir, *options
    )


@pytest.fixture(scope='module')
def pretrained(root, folder):
    done = run(root, folder, 'fcmae_bands')
    assert 'failed, the run goes on' not in done.stderr + done.stdout
    return folder / 'work_dirs/fcmae_bands'


def test_pretraining(folder, pretrained):
    losses = [record['loss'] for record in scalars(pretrained) if 'loss' in record]
    assert len(losses) == 2 and np.isfinite(losses).all()
    state_dict = load(pretrained / 'epoch_1.pth')['state_dict']
    assert state_dict['backbone.downsample_layers.0.0.weight'].shape[1] == 6
    assert state_dict['pred.weight'].shape[0] == 6 * 32**2
    picture = cv2.imread(str(pretrained / 'reconstructions/epoch_1.png'))
    assert picture.shape[1] == 3 * 132 - 4 and picture.std() > 10


def test_config_normalises_to_mean_0_and_deviation_1(folder):
    """Over all files, in the bands as the loader gives them."""
    cfg = Config.fromfile(folder / 'fcmae_bands.py')
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    transform = LoadImage('all', str(folder / 'stats.json'))
    images = [transform(dict(img_path=str(path)))['img'] for path in (folder / 'scenes/unlabelled').iterdir()]
    inputs = preprocessor(dict(inputs=[torch.from_numpy(image).permute(2, 0, 1) for image in images]))['inputs']
    assert inputs.mean((0, 2, 3)).abs().max() < 1e-3
    assert (inputs.std((0, 2, 3)) - 1).abs().max() < 1e-3


@pytest.mark.parametrize('name', ['upernet_bands', 'mask_rcnn_bands'])
def test_training_and_test_with_pictures(root, folder, pretrained, name):
    run(root, folder, name)
    checkpoint = folder / 'work_dirs' / name / 'iter_2.pth'
    assert load(checkpoint)['state_dict']['backbone.downsample_layers.0.0.weight'].shape[1] == 6
    pictures = folder / f'pictures_{name}'
    done = run(root, folder, name, checkpoint, '--show-dir', pictures, '--show-bands', '2', '1', '0', command='test')
    assert 'failed, the run goes on' not in done.stderr + done.stdout
    images = sorted(pictures.rglob('*.tif*'))
    assert len(images) == 4
    # Bands 2, 1 and 0 are red, green and blue of the scene, on other scales; a part of the picture has nothing drawn.
    drawn = cv2.imread(str(images[0]))[:128, :128]
    assert drawn.std(axis=(0, 1)).min() > 5


def test_adapted_stem_gives_what_rgb_gives_for_repeated_bands(folder):
    """Bands 0 to 2 and again 0 to 2: six channels of weights of three, halved."""
    cfg = Config.fromfile(folder / 'mask_rcnn_bands.py')
    backbone = MODELS.build(dict(type='ConvNeXtV2', arch='atto', in_channels=6, init_cfg=cfg.model.backbone.init_cfg))
    backbone.init_weights()
    rgb = MODELS.build(dict(type='ConvNeXtV2', arch='atto', out_norm=False))
    rgb.load_state_dict(torch.load(folder / 'rgb.pth'))
    image = torch.rand(1, 3, 64, 64)
    stems = (net.downsample_layers[0][0] for net in (backbone, rgb))
    one, other = (stem(x) for stem, x in zip(stems, (image.repeat(1, 2, 1, 1), image), strict=True))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_file_of_statistics(folder):
    """It is what the configs take, and plain JSON."""
    statistics = json.loads((folder / 'stats.json').read_text())
    assert statistics['bands'] == [*range(6)] and statistics['files'] == 16
    assert statistics['dtype'] == {'uint16': 16} and statistics['height'] == [128, 128]
