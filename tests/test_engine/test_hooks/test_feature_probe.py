"""A training that is judged is the same training; what is logged is what the tools for frozen features say."""

import json
import logging
import random
import shutil
import uuid

import cv2
import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.utils.data import Dataset

import mmcnv2  # noqa: F401  (registers the models)
from mmcnv2.engine import FeatureProbeHook
from mmcnv2.engine.reporting import spare_the_run
from mmcnv2.evaluation.diversity import DiversityProbe
from mmcnv2.evaluation.features import Sample, image_batches, pool
from mmcnv2.models.normalization import Normalization

MODEL = dict(
    type='mmcnv2.FCMAE',
    backbone=dict(
        type='mmcnv2.ConvNeXtV2',
        arch=dict(depths=(1, 1, 2, 1), channels=(4, 4, 4, 4)),
        drop_path_rate=0.5,
        frozen_stages=0,
    ),
    decoder_embed_dims=8,
    data_preprocessor=dict(type='ImgDataPreprocessor', mean=[127.0] * 3, std=[60.0] * 3),
)
ITERATIONS = dict(by_epoch=False, max_iters=5)
EPOCHS = dict(by_epoch=True, max_epochs=3)


class Noise(Dataset):
    """Random images from the three global generators."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        image = np.random.randint(0, 256, (3, 64, 64)) / 2 + 64 * torch.rand(3, 1, 1).numpy() + 64 * random.random()
        return dict(inputs=torch.from_numpy(image.astype(np.uint8)))


class Remover(Hook):
    """Removes a folder once the images have been chosen."""

    def __init__(self, folder):
        self.folder = folder

    def before_train(self, runner):
        shutil.rmtree(self.folder)


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Class folders of dark and bright images."""
    folder = tmp_path_factory.mktemp('classes')
    generator = np.random.default_rng(0)
    for split, count in (('train', 6), ('val', 4)):
        for name, level in (('bright', 150), ('dark', 0)):
            for i in range(count):
                path = folder / split / name / f'{i}.png'
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), generator.integers(level, level + 100, (40, 40, 3), dtype=np.uint8))
    return folder


def build(work_dir, train_cfg, hooks=(), accumulation=1):
    random.seed(0)
    kind = 'DefaultSampler' if train_cfg['by_epoch'] else 'InfiniteSampler'
    return Runner(
        model=MODEL,
        work_dir=str(work_dir),
        train_dataloader=dict(dataset=Noise(), batch_size=4, num_workers=0, sampler=dict(type=kind)),
        train_cfg=train_cfg,
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-2), accumulative_counts=accumulation),
        custom_hooks=list(hooks),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        randomness=dict(seed=0),
        experiment_name=uuid.uuid4().hex,
        default_scope='mmcnv2',
        log_level='WARNING',
    )


def hook(folders, **kwargs):
    return dict(
        type='FeatureProbeHook', train=str(folders / 'train'), val=str(folders / 'val'), image_size=64, k=3, **kwargs
    )


def state(runner):
    """All that the rest of a training could depend on."""
    model = runner.model
    return dict(
        weights={key: value.numpy().tobytes() for key, value in model.state_dict().items()},
        gradients={key: None if p.grad is None else p.grad.numpy().tobytes() for key, p in model.named_parameters()},
        moments=[
            value.numpy().tobytes()
            for one in runner.optim_wrapper.state_dict()['state'].values()
            for value in one.values()
        ],
        modes={name: module.training for name, module in model.named_modules()},
        hooks=[name for name, module in model.named_modules() if module._forward_pre_hooks],
        torch=torch.get_rng_state().tolist(),
        numpy=[str(part) for part in np.random.get_state()[1:]] + np.random.get_state()[1].tolist(),
        python=random.getstate(),
    )


@pytest.mark.slow
@pytest.mark.parametrize('train_cfg', [EPOCHS, ITERATIONS], ids=['epochs', 'iterations'])
def test_the_training_is_the_same(folders, tmp_path, train_cfg):
    """With accumulation: a probe between two steps, too."""
    probed = build(tmp_path / 'with', train_cfg, [hook(folders, by_epoch=train_cfg['by_epoch'])], accumulation=2)
    probed.train()
    assert len(probes(tmp_path / 'with')) == train_cfg.get('max_epochs', train_cfg.get('max_iters'))
    actual = state(probed)
    plain = build(tmp_path / 'without', train_cfg, accumulation=2)
    plain.train()
    expected = state(plain)
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        assert actual[key] == value, key
    assert not all(expected['modes'].values())  # the frozen stem stays in evaluation mode


def probes(work_dir):
    (file,) = work_dir.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    return [row for row in rows if 'probe/diversity' in row]


def test_what_is_logged(folders, tmp_path):
    """After every second iteration and the last. Dark and bright images are told apart by any network."""
    runner = build(tmp_path, ITERATIONS, [hook(folders, by_epoch=False, interval=2)])
    runner.train()
    rows = probes(tmp_path)
    assert [row['step'] for row in rows] == [2, 4, 5]
    backbone = runner.model.backbone.eval()
    backbone.normalization = Normalization(MODEL['data_preprocessor']['mean'], MODEL['data_preprocessor']['std'])
    with DiversityProbe(backbone) as probe:
        for _, images in image_batches([Sample(str(path)) for path in sorted(folders.rglob('*.png'))], 64):
            pool(backbone, images)
    distances = [layer.distance for layer in probe.result()]
    assert rows[-1]['probe/diversity'] == pytest.approx(np.mean(distances), rel=1e-4)
    assert rows[-1]['probe/diversity_min'] == pytest.approx(min(distances), rel=1e-4)
    assert rows[-1]['probe/knn_top1'] == 100 and rows[-1]['probe/seconds'] > 0


def test_knn_without_a_difference_is_chance(folders, tmp_path):
    """Both classes have the same images, so one of them is always right, the other never."""
    for split in ('train', 'val'):
        for name in ('a', 'b'):
            shutil.copytree(folders / split / 'dark', tmp_path / 'same' / split / name)
    build(tmp_path / 'run', ITERATIONS, [hook(tmp_path / 'same', by_epoch=False, interval=5)]).train()
    (row,) = probes(tmp_path / 'run')
    assert row['probe/knn_top1'] == 50


@pytest.mark.parametrize('fault', ['no folder', 'images vanish', 'odd size'])
def test_the_run_goes_on_if_it_fails(folders, tmp_path, fault, caplog):
    copied = shutil.copytree(folders, tmp_path / 'copied')
    settings = hook(copied, by_epoch=False)
    runner = build(tmp_path / 'run', ITERATIONS, [settings])
    if fault == 'no folder':
        shutil.rmtree(copied)
    spare_the_run(runner)
    if fault == 'images vanish':
        runner.register_hook(Remover(copied), priority='LOWEST')
    if fault == 'odd size':
        next(one for one in runner.hooks if isinstance(one, FeatureProbeHook)).image_size = 50
    with caplog.at_level(logging.WARNING):
        runner.logger.addHandler(caplog.handler)
        runner.train()
    assert runner.iter == 5
    warnings = [record.message for record in caplog.records if 'FeatureProbeHook failed' in record.message]
    assert len(warnings) == 1
