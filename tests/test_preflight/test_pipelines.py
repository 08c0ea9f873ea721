"""Pipelines of evaluation that cannot work, or not on every image, are named before training."""

import warnings

import pytest
from helpers.configs import CONFIGS, ROOT, load
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmcnv2.preflight import check_pipelines
from mmcnv2.utils.errors import ConfigError

DETECTOR = ROOT / 'configs/checks/mask-rcnn_convnextv2-atto_fpn-small_overfit-8-images_coco.py'
SEGMENTER = ROOT / 'configs/toy/upernet_convnextv2-atto_toy-scenes.py'
META_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')  # as mmdet's own configs have them
LOAD = dict(type='LoadImageFromFile')
LABELS = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
RESIZE = dict(type='Resize', scale=(512, 512), keep_ratio=True)
PAD = dict(type='Pad', size=(512, 512))
PACK = dict(type='PackDetInputs', meta_keys=(*META_KEYS, 'instances'))
MAPS = dict(type='mmcnv2.LoadLabelMap', num_classes=7)
PACK_MAPS = dict(type='PackSegInputs')


@pytest.fixture(autouse=True)
def scope(monkeypatch):
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())


def found(path, pipeline, **settings):
    """The error or the warnings for a config with this pipeline of validation, '' if there are none."""
    cfg = load(path)
    cfg.val_dataloader.dataset.pipeline = pipeline
    cfg.merge_from_dict(settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        try:
            check_pipelines(cfg, ('train', 'val'))
        except ConfigError as error:
            return f'error: {error}'
    return '\n'.join(str(warning.message) for warning in caught if 'preflight' in warning.filename)


def test_the_recipes_have_nothing_to_report():
    with warnings.catch_warnings():
        warnings.filterwarnings('error', module=r'mmcnv2\.preflight')
        for path in CONFIGS:
            check_pipelines(load(path), ('train', 'val', 'test'))


@pytest.mark.parametrize(
    'name',
    [
        'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
        'mmdet::rtmdet/rtmdet-ins_s_8xb32-300e_coco.py',  # pads, and pastes no masks
        'mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py',
        'mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py',
        'mmseg::upernet/upernet_r50_4xb2-40k_cityscapes-512x1024.py',
    ],
)
def test_neither_have_stock_configs(name, tmp_path):
    (tmp_path / 'stock.py').write_text(f'_base_ = {name!r}')
    with warnings.catch_warnings():
        warnings.filterwarnings('error', module=r'mmcnv2\.preflight')
        check_pipelines(Config.fromfile(tmp_path / 'stock.py', format_python_code=False), ('train', 'val', 'test'))


@pytest.mark.parametrize(
    ('pipeline', 'messages'),
    [
        ([LOAD, RESIZE, LABELS, PACK], ['']),
        ([LOAD, LABELS, dict(type='Resize', scale_factor=1.0), PACK], ['']),  # changes nothing
        ([LOAD, LABELS, RESIZE, PACK], ['pipeline.1: labels are loaded before Resize (val_dataloader.dataset.pipel']),
        ([LOAD, RESIZE, LABELS, dict(type='RandomFlip', prob=1.0), PACK], ['loaded before RandomFlip', '--show-dir']),
        ([LOAD, RESIZE, PAD, LABELS, PACK], ['pipeline.2: Pad makes the padding a part of the image', 'Remove it']),
        ([LOAD, LABELS, RESIZE, PAD, PACK], ['pipeline.3: Pad makes', 'pipeline.1: labels are loaded before Resize']),
        ([LOAD, LABELS, PACK], ['error: val_dataloader.dataset.pipeline has no Resize', 'scale_factor=1.0']),
        (
            [LOAD, RESIZE, LABELS, dict(PACK, meta_keys=META_KEYS)],
            ['error: val_evaluator: CocoMetric has no ann', "pipeline.3.meta_keys has no 'instances'", '.ann_file'],
        ),
        ([LOAD, RESIZE, LABELS, dict(type='PackDetInputs')], ["pipeline.3.meta_keys has no 'instances'"]),
        ([LOAD, RESIZE, LABELS, dict(PACK, meta_keys=('instances', 'img_id'))], ["lacks 'ori_shape', which CocoMetr"]),
        (
            [LOAD, RESIZE, LABELS, dict(PACK, meta_keys=[*PACK['meta_keys'][:3], 'instances'])],
            ["lacks 'scale_factor'"],
        ),
    ],
)
def test_detectors(pipeline, messages):
    text = found(DETECTOR, pipeline)
    assert all(message in text for message in messages) and bool(text) == bool(messages[0]), text


def test_detectors_with_an_annotation_file_need_no_instances():
    pipeline = [LOAD, RESIZE, LABELS, dict(PACK, meta_keys=META_KEYS)]
    assert found(DETECTOR, pipeline, **{'val_evaluator.ann_file': 'labels.json'}) == ''
    metrics = dict(type='Evaluator', metrics=[dict(type='CocoMetric')])
    assert 'error: val_evaluator.metrics.0: CocoMetric has no ann_file' in found(
        DETECTOR, pipeline, val_evaluator=metrics
    )


@pytest.mark.parametrize(
    ('pipeline', 'message'),
    [
        ([LOAD, RESIZE, MAPS, PACK_MAPS], ''),
        ([LOAD, MAPS, RESIZE, PACK_MAPS], 'pipeline.1: labels are loaded before Resize'),
        ([LOAD, dict(type='LoadAnnotations'), PAD, PACK_MAPS], 'loaded before Pad'),
        (
            [LOAD, dict(type='TestTimeAug', transforms=[[dict(type='LoadAnnotations')], [RESIZE], [PACK_MAPS]])],
            'pipeline.1.transforms.0.0: labels are loaded before Resize (val_dataloader.dataset.pipeline.1.trans',
        ),
    ],
)
def test_segmenters(pipeline, message):
    text = found(SEGMENTER, pipeline)
    assert message in text and bool(text) == bool(message), text
