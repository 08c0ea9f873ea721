"""Sizes of images that ConvNeXtV2 would refuse are named before training, from settings or from the images."""

import json

import numpy as np
import pytest
from helpers.configs import CONFIGS, load
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from mmcnv2.preflight import check_sizes
from mmcnv2.utils.errors import ConfigError

BACKBONE = dict(type='mmcnv2.ConvNeXtV2', arch='atto')
LOAD, PACK = dict(type='LoadImageFromFile'), dict(type='PackSegInputs')
CROP = dict(type='RandomCrop', crop_size=(96, 64))
PADDED = dict(test_cfg=dict(size_divisor=32))


@pytest.fixture(autouse=True)
def scope(monkeypatch):
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())


def message(cfg, splits=('train', 'val')):
    """What the check refuses, '' if nothing."""
    try:
        check_sizes(cfg if isinstance(cfg, Config) else Config(cfg), splits)
    except ConfigError as error:
        return str(error)
    return ''


@pytest.fixture
def segmenter(tmp_path):
    """Makes the config of a segmenter whose images have this size, (width, height)."""

    def make(image_size, *resize, train=(CROP,), test_cfg=None, **preprocessor):
        Image.fromarray(np.zeros((*image_size[::-1], 3), np.uint8)).save(tmp_path / 'a.png')
        dataset = dict(
            type='BaseSegDataset', data_root=str(tmp_path), data_prefix=dict(img_path=''), img_suffix='.png'
        )
        dataset['metainfo'] = dict(classes=['a', 'b'])
        return dict(
            default_scope='mmseg',
            model=dict(
                type='EncoderDecoder',
                backbone=BACKBONE,
                decode_head=dict(type='FCNHead'),
                data_preprocessor=dict(dict(type='SegDataPreProcessor', size=(64, 96)), **preprocessor),
                test_cfg=test_cfg or dict(mode='whole'),
            ),
            train_dataloader=dict(dataset=dict(dataset, pipeline=[LOAD, *train, PACK])),
            val_dataloader=dict(dataset=dict(dataset, pipeline=[LOAD, *resize, PACK])),
        )

    return make


def resize(scale, keep_ratio=True):
    return dict(type='Resize', scale=scale, keep_ratio=keep_ratio)


def test_the_recipes_fit():
    for path in CONFIGS:
        assert message(load(path), ('train', 'val', 'test')) == '', path


@pytest.mark.parametrize(
    ('size', 'steps', 'settings', 'expected'),
    [
        ((96, 64), [], {}, ''),  # every image fits already
        ((100, 64), [], PADDED, ''),
        ((100, 64), [], dict(test_cfg=dict(size=(64, 128))), ''),
        ((100, 64), [], {}, 'a.png arrives as 64x100 (height x width), and ConvNeXtV2 takes'),
        ((100, 64), [], {}, 'or model.data_preprocessor.test_cfg=dict(size_divisor=32), since mmseg pads in training'),
        ((100, 64), [], dict(test_cfg=dict(size_divisor=16)), 'arrives as 64x112'),
        ((200, 128), [resize((96, 64), False)], {}, ''),  # to a fixed size
        ((200, 128), [resize((96, 60), False)], {}, 'val_dataloader.dataset.pipeline.1: 60x96 (height x width)'),
        ((192, 128), [resize((96, 96))], {}, ''),  # 96x64, as MMCV computes
        ((200, 128), [resize((96, 96))], {}, 'arrives as 61x96'),
        ((200, 128), [dict(type='Resize', scale_factor=0.5)], {}, 'arrives as 64x100'),
        ((200, 128), [resize((96, 96)), dict(type='Pad', size=(96, 64))], {}, ''),
        ((200, 128), [resize((96, 96)), dict(type='Pad', size_divisor=32)], {}, ''),
        ((200, 128), [resize((96, 96)), dict(type='Unknown')], {}, ''),  # left to the backbone
        # training
        ((96, 64), [], dict(size=(60, 96)), 'model.data_preprocessor.size: 60x96'),
        ((96, 64), [], dict(train=[dict(CROP, crop_size=(100, 100))]), 'train_dataloader.dataset.pipeline.1: 100x100'),
        ((96, 64), [], dict(train=[dict(CROP, crop_size=60)]), ''),  # padded to 64x96
        ((96, 64), [], dict(train=[dict(CROP, crop_size=60)], size=None, size_divisor=20), 'pipeline.1: 60x60'),
        # windows
        ((100, 64), [], dict(test_cfg=dict(mode='slide', crop_size=(64, 64))), "mode='slide' and no 'stride'"),
        ((100, 64), [], dict(test_cfg=dict(mode='slide', stride=(64, 64))), "mode='slide' and no 'crop_size'"),
        ((128, 96), [], dict(test_cfg=dict(mode='slide', crop_size=(64, 90), stride=(9, 9))), 'crop_size: 64x90'),
        ((100, 90), [], dict(test_cfg=dict(mode='slide', crop_size=(64, 64), stride=(9, 9))), ''),
        ((100, 50), [], dict(test_cfg=dict(mode='slide', crop_size=(64, 64), stride=(9, 9))), 'arrives as 50x64'),
    ],
)
def test_segmenters(segmenter, size, steps, settings, expected):
    settings = dict(settings)
    if settings.get('test_cfg', {}).get('mode') is None and 'test_cfg' in settings:
        padding = settings.pop('test_cfg')
        cfg = segmenter(size, *steps, **settings)
        cfg['model']['data_preprocessor']['test_cfg'] = padding
    else:
        cfg = segmenter(size, *steps, **settings)
    found = message(cfg)
    assert expected in found and bool(found) == bool(expected), found
    # With test-time augmentation the model is inside another.
    if 'model.test_cfg' in expected:
        cfg['model'] = dict(type='SegTTAModel', module=cfg['model'])
        assert 'model.module.test_cfg' in message(cfg)


def test_other_backbones_are_left_alone(segmenter):
    cfg = segmenter((100, 64), train=[dict(CROP, crop_size=(100, 100))])
    cfg['model']['backbone'] = dict(type='ResNet', depth=18)
    assert message(cfg) == ''


@pytest.mark.parametrize(
    ('preprocessor', 'steps', 'expected'),
    [
        (dict(pad_size_divisor=32), [resize((80, 80))], ''),
        (dict(pad_size_divisor=64), [resize((80, 80))], ''),
        ({}, [resize((80, 80))], 'a.png arrives as 53x80 (height x width), and ConvNeXtV2 takes sizes divisible by'),
        (dict(pad_size_divisor=20), [resize((80, 80))], 'or model.data_preprocessor.pad_size_divisor=32'),
        ({}, [resize((64, 64)), dict(type='Pad', size=(64, 64))], ''),  # as RTMDet
        (
            dict(pad_size_divisor=32, batch_augments=[dict(type='BatchFixedSizePad', size=(90, 64))]),
            [],
            'batch_augments.0.size: 90x64',
        ),
        (
            dict(pad_size_divisor=32, batch_augments=[dict(type='BatchSyncRandomResize', size_divisor=16)]),
            [],
            'batch_augments.0.size_divisor: ConvNeXtV2 takes sizes divisible by 32, got 16',
        ),
    ],
)
def test_detectors(tmp_path, preprocessor, steps, expected):
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / 'a.png')
    content = dict(images=[dict(id=1, file_name='a.png', width=60, height=40)], annotations=[], categories=[])
    (tmp_path / 'a.json').write_text(json.dumps(content))
    dataset = dict(
        type='CocoDataset', data_root=str(tmp_path), ann_file='a.json', data_prefix=dict(img=''), test_mode=True
    )
    cfg = dict(
        default_scope='mmdet',
        model=dict(backbone=BACKBONE, data_preprocessor=dict(type='DetDataPreprocessor', **preprocessor)),
        val_dataloader=dict(dataset=dict(dataset, pipeline=[LOAD, *steps, dict(type='PackDetInputs')])),
    )
    found = message(cfg)
    assert expected in found and bool(found) == bool(expected), found


@pytest.mark.parametrize(
    ('name', 'option', 'expected'),
    [
        (
            'convnextv2-atto-fcmae_32xb32-amp-coslr-600e_in1k',
            'train_dataloader.dataset.pipeline.1.scale',
            '.1: 230x230',
        ),
        ('convnextv2-atto-fcmae_32xb32-amp-coslr-600e_in1k', 'val_dataloader.dataset.pipeline.2.crop_size', '230x230'),
        ('fcmae_convnextv2-atto_1xb64-coslr-14e_small-folder', 'train_dataloader.dataset.pipeline.0.size', '230x230'),
    ],
)
def test_classifiers_and_fcmae(name, option, expected):
    cfg = load(next(path for path in CONFIGS if path.stem == name))
    cfg.merge_from_dict({option: 230})
    assert expected in message(cfg)
