"""Schedules end with the training; where a user's do not, a warning names both numbers."""

import math
import warnings

import pytest
from helpers import small_run
from helpers.configs import CONFIGS, ROOT, load
from mmengine.config import Config
from mmengine.runner import FlexibleRunner, Runner

from mmcnv2.preflight import check_schedules

FCMAE = ROOT / 'configs/fcmae/fcmae_convnextv2-base_64xb64-amp-coslr-1600e_in1k.py'
UPERNET = ROOT / 'configs/toy/upernet_convnextv2-atto_toy-scenes.py'
MASK_RCNN = ROOT / 'configs/mask_rcnn/mask-rcnn_convnextv2-base-fcmae_fpn_8xb4-amp-lsj-3x_coco.py'
FINETUNE = ROOT / 'configs/imagenet/convnextv2-base-fcmae_32xb32-amp-coslr-100e_in1k.py'


def reports(cfg, **settings):
    """The warnings for a config with these settings, '__' for '.'."""
    cfg = load(cfg) if not isinstance(cfg, Config) else cfg
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in settings.items()})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        check_schedules(cfg, ('train', 'val'))
    return [str(warning.message) for warning in caught]


def test_the_recipes_fit():
    assert {path.stem: found for path in CONFIGS if (found := reports(path))} == {}


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', []),
        ('mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py', []),
        ('mmdet::yolox/yolox_s_8xb8-300e_coco.py', []),
        ('mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py', []),
        ('mmdet::mask2former_vis/mask2former_r50_8xb2-8e_youtubevis2019.py', []),  # validation turned off
        ('mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512.py', []),
        # This one is wrong: the rate is constant in its second half.
        (
            'mmseg::ocrnet/ocrnet_r101-d8_8xb2-80k_cityscapes-512x1024.py',
            ['param_scheduler.0.end=40000 is before the end of the training, train_cfg.max_iters=80000'],
        ),
    ],
)
def test_stock_configs(name, expected, tmp_path):
    (tmp_path / 'stock.py').write_text(f'_base_ = {name!r}')
    found = reports(Config.fromfile(tmp_path / 'stock.py', format_python_code=False))
    assert len(found) == len(expected)
    assert all(report.startswith(start) for report, start in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ('path', 'settings', 'expected'),
    [
        (FCMAE, dict(train_cfg__max_epochs=100), []),  # ends with it
        (UPERNET, dict(train_cfg__max_iters=800), []),
        (FINETUNE, dict(train_cfg__max_epochs=50), []),
        # schedulers
        (FCMAE, dict(param_scheduler__1__end=800), ['param_scheduler.1.end=800 is before the end of the training']),
        (FCMAE, dict(param_scheduler__1__end=3200), ['param_scheduler.1.end=3200 is after the end of the training']),
        (
            FCMAE,  # as the recipes were, with --cfg-options train_cfg.max_epochs=80
            dict(param_scheduler__1__end=600, param_scheduler__1__T_max=560, train_cfg__max_epochs=80),
            ['param_scheduler.1.end=600 is after the end of the training, train_cfg.max_epochs=80: it stops'],
        ),
        (FCMAE, dict(param_scheduler__1__T_max=600), ['param_scheduler.1.T_max=600, but it runs for 1560 until']),
        (FCMAE, dict(param_scheduler__1__T_max=1600), []),  # 40 of 1600: no difference
        (
            FCMAE,
            dict(train_cfg__max_epochs=30),
            ['0: a warm-up until 40 is longer than the training', '1.begin=40 is not before the end of the training'],
        ),
        (
            MASK_RCNN,
            dict(train_cfg__max_epochs=30),
            ['param_scheduler.1.milestones: [33] are not before the end of the training, train_cfg.max_epochs=30'],
        ),
        (
            UPERNET,
            dict(param_scheduler__1__by_epoch=True),
            ['param_scheduler.1 steps by epoch, but train_cfg.max_iters=400 counts iterations'],
        ),
        # intervals
        (
            UPERNET,
            dict(train_cfg__max_iters=50),
            [
                'train_cfg.val_interval=100 is longer than the training',
                'default_hooks.checkpoint.interval=400 is long',
            ],
        ),
        (FINETUNE, dict(train_cfg__val_begin=150), ['train_cfg.val_begin=150 is after the end']),
        (FINETUNE, dict(train_cfg__dynamic_intervals=[(300, 1)]), ['train_cfg.dynamic_intervals: [[300, 1]] begin']),
        (FINETUNE, dict(default_hooks__checkpoint__interval=200), ['default_hooks.checkpoint.interval=200 is longer']),
        (UPERNET, dict(default_hooks__checkpoint__by_epoch=True), ['default_hooks.checkpoint counts epochs, but']),
    ],
)
def test_what_does_not_fit(path, settings, expected):
    found = reports(path, **settings)
    assert len(found) == len(expected), found
    assert all(part in report for report, part in zip(found, expected, strict=True)), found


def test_schedulers_of_several_optimizers():
    scheduler = dict(type='CosineAnnealingLR', T_max=5, by_epoch=True)
    found = reports(Config(dict(train_cfg=dict(max_epochs=20), param_scheduler=dict(a=[scheduler], b=scheduler))))
    assert [report.split('=')[0] for report in found] == ['param_scheduler.a.0.T_max', 'param_scheduler.b.T_max']


@pytest.mark.parametrize(
    ('path', 'length', 'runner_type'),
    [
        (FCMAE, dict(epochs=44), Runner),
        (FCMAE, dict(epochs=44), FlexibleRunner),
        (FINETUNE, dict(epochs=24), Runner),
        (UPERNET, dict(iterations=30), Runner),
        (UPERNET, dict(iterations=30), FlexibleRunner),
    ],
)
def test_a_shorter_training_anneals_to_the_end(path, length, runner_type, tmp_path, monkeypatch):
    """Warm-up of 40 epochs, 20 epochs, 20 iterations, then half a cosine over what is left of the training."""
    monkeypatch.setattr(small_run, 'Runner', runner_type)
    schedulers = load(path).param_scheduler
    runner = small_run.build_runner(tmp_path, **length, checkpoint=dict(interval=1000))
    runner.param_schedulers = [scheduler.to_dict() for scheduler in schedulers]
    rates = []
    step = small_run.SmallModel.train_step

    def train_step(model, data, optim_wrapper):
        rates.append(optim_wrapper.get_lr()['lr'][0])
        return step(model, data, optim_wrapper)

    monkeypatch.setattr(small_run.SmallModel, 'train_step', train_step)
    runner.train()
    warmup, cosine = schedulers
    steps_of_unit = 6 if 'epochs' in length else 1  # 12 samples in batches of 2
    total, begin = next(iter(length.values())) * steps_of_unit, warmup.end * steps_of_unit
    assert len(rates) == total and rates[begin] == pytest.approx(0.05)
    assert rates[(begin + total) // 2] == pytest.approx((0.05 + cosine.eta_min) / 2)
    annealed = (1 + math.cos(math.pi * (1 - 1 / (total - begin)))) / 2  # in the last iteration
    assert rates[-1] == pytest.approx(cosine.eta_min + (0.05 - cosine.eta_min) * annealed)
