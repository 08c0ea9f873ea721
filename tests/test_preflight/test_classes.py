"""Data sets, heads, class weights, palettes and metrics that disagree on the classes are named before training."""

import copy
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from helpers.configs import load
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from mmcnv2.preflight import check_classes
from mmcnv2.utils.errors import ConfigError

SEGMENTER = 'configs/toy/upernet_convnextv2-atto_toy-scenes.py'
DETECTOR = 'configs/toy/mask-rcnn_convnextv2-atto_toy-scenes.py'
CLASSIFIER = 'configs/imagenet/convnextv2-atto-fcmae_32xb32-amp-coslr-600e_in1k.py'
BOTH = ('train', 'val')


@pytest.fixture
def changed(root):
    """Returns a config of the repository with options as ``--cfg-options`` takes them."""

    def change(name, **options):
        cfg = load(root / name)
        cfg.merge_from_dict({key.replace('__', '.'): value for key, value in options.items()})
        return cfg

    return change


# ---- segmenters: 7 classes in the toy scenes ----

CROSS_ENTROPY = dict(type='CrossEntropyLoss')
SIGMOID = dict(type='CrossEntropyLoss', use_sigmoid=True)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            dict(model__decode_head__num_classes=19),
            r'decode_head\.num_classes is 19, and train_dataloader\.dataset has 7',
        ),
        (
            dict(model__auxiliary_head__num_classes=2),
            r'auxiliary_head\.num_classes is 2, .* has 7 classes: make them eq',
        ),
        (
            {'train_dataloader.dataset.pipeline.1.num_classes': 19},
            r'train_dataloader\.dataset\.pipeline\.1\.num_classes is 19, and train_dataloader\.dataset has 7',
        ),
        (
            dict(model__auxiliary_head=[dict(num_classes=7), dict(num_classes=8)]),
            r'model\.auxiliary_head\.1\.num_classes is 8',
        ),
        (
            dict(model__decode_head__loss_decode__class_weight=[1.0] * 6),
            r'decode_head\.loss_decode\.class_weight has 6 weights, expected 7 for 7 classes',
        ),
        (
            dict(model__decode_head__loss_decode=[CROSS_ENTROPY, dict(type='DiceLoss', class_weight=[1, 2])]),
            r'decode_head\.loss_decode\.1\.class_weight has 2 weights',
        ),
        (dict(model__decode_head__loss_decode__class_weight='none.npy'), r'class_weight: none\.npy does not exist'),
        (dict(model__decode_head__num_classes=1), r'decode_head: one channel and a softmax.*use_sigmoid=True'),
        (
            dict(train_dataloader__dataset__metainfo__palette=None),
            r'train_dataloader\.dataset\.metainfo\.palette must be a list of 7 colours .* got None',
        ),
        (dict(val_dataloader__dataset__metainfo__palette=[[0, 0, 0]] * 6), r'palette has 6 colours for 7 classes'),
        (dict(val_dataloader__dataset__metainfo__palette=[[0, 0, 0]] * 8), r'palette has 8 colours for 7 classes'),
        (dict(val_dataloader__dataset__metainfo__palette=[0] * 7), r'palette must be a list of colours'),
        (
            dict(val_dataloader__dataset__metainfo__classes=list('abcdefg')),
            r"different classes \(class 0 is 'a', in training 'background'\)",
        ),
        (dict(val_dataloader__dataset__metainfo={'_delete_': True}), r'val_evaluator needs the classes'),
        (
            dict(val_dataloader__dataset__pipeline=[dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]),
            r'val_dataloader\.dataset\.pipeline: val_evaluator needs labels, and no transform loads them.*format_only',
        ),
        (
            dict(val_dataloader__dataset__data_prefix=dict(_delete_=True, img_path='val')),
            r'data_prefix: val_evaluator needs labels, and has no seg_map_path',
        ),
        (
            dict(train_dataloader__dataset__pipeline=[dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]),
            r'train_dataloader\.dataset\.pipeline: training needs labels.*add LoadAnnotations',
        ),
    ],
)
def test_segmenters(changed, options, message):
    with pytest.raises(ConfigError, match=message):
        check_classes(changed(SEGMENTER, **options), BOTH)


def test_what_segmenters_may_have(changed, tmp_path):
    check_classes(changed(SEGMENTER), BOTH)
    np.save(tmp_path / 'weights.npy', np.ones(7))
    weights = dict(model__decode_head__loss_decode__class_weight=str(tmp_path / 'weights.npy'))
    check_classes(changed(SEGMENTER, **weights), BOTH)
    unlabelled = dict(
        val_dataloader__dataset__pipeline=[dict(type='LoadImageFromFile'), dict(type='PackSegInputs')],
        val_evaluator__format_only=True,
    )
    check_classes(changed(SEGMENTER, **unlabelled), BOTH)


@pytest.mark.parametrize('head', [dict(num_classes=2, out_channels=1), dict(num_classes=1), dict(num_classes=2)])
def test_binary_segmenters_may_have_one_channel(changed, head):
    cfg = changed(SEGMENTER)
    for split in BOTH:
        cfg[f'{split}_dataloader'].dataset.metainfo.classes = ['background', 'object']
        cfg[f'{split}_dataloader'].dataset.pipeline[1].num_classes = 2
    for name in ('decode_head', 'auxiliary_head'):
        cfg.model[name].update(
            head, loss_decode=dict(SIGMOID, class_weight=[1.0] * head.get('out_channels', head['num_classes']))
        )
    check_classes(cfg, BOTH)
    cfg.model.decode_head.loss_decode.class_weight = [1.0] * 3
    with pytest.raises(ConfigError, match=r'decode_head\.loss_decode\.class_weight has 3 weights, expected [12]'):
        check_classes(cfg, BOTH)


def test_palettes_are_refused_as_by_mmseg(changed):
    """Each palette that mmseg does not take, and no other."""
    for classes, known in (('ab', None), (['road', 'car'], 'CityscapesDataset')):
        for count in (0, 1, 2, 3, 19):
            cfg = changed(SEGMENTER)
            for name in ('decode_head', 'auxiliary_head'):
                cfg.model[name].num_classes = 2
            dataset = cfg.train_dataloader.dataset
            dataset.update(type=known or dataset.type, pipeline=[], lazy_init=True)
            dataset.metainfo = dict(classes=list(classes), palette=[[i, i, i] for i in range(count)])
            with DefaultScope.overwrite_default_scope('mmseg'):
                try:
                    DATASETS.build(copy.deepcopy(dataset))
                    fits = True
                except (ValueError, IndexError):
                    fits = False
            with nullcontext() if fits else pytest.raises(ConfigError, match=r'metainfo\.palette has'):
                check_classes(cfg, ('train',))


# ---- detectors: 6 classes in the toy scenes ----


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            dict(model__roi_head__bbox_head__num_classes=80),
            r'bbox_head\.num_classes is 80, and train_dataloader.* has 6',
        ),
        (
            dict(model__roi_head__bbox_head__loss_cls__class_weight=[1.0] * 6),
            r'loss_cls\.class_weight has 6 weights, expected 7 for 6 classes \(the last one is of "no object"\)',
        ),
        (
            dict(model__roi_head__mask_head__loss_mask__class_weight='none.json'),
            r'loss_mask\.class_weight: none\.json does not exist',
        ),
        (dict(val_dataloader__dataset__metainfo__classes=tuple('abcdef')), r"class 0 is 'a', in training 'ball'"),
    ],
)
def test_detectors(changed, options, message):
    with pytest.raises(ConfigError, match=message):
        check_classes(changed(DETECTOR, **options), BOTH)


def test_heads_in_a_list_and_of_things_and_stuff(changed):
    cfg = changed(DETECTOR)
    cfg.model.roi_head = dict(bbox_head=[dict(num_classes=6), dict(num_classes=80)])
    with pytest.raises(ConfigError, match=r'model\.roi_head\.bbox_head\.1\.num_classes is 80'):
        check_classes(cfg, BOTH)
    things = dict(type='Mask2FormerHead', num_things_classes=6, num_stuff_classes=0)
    cfg.model = dict(panoptic_head=dict(things, loss_cls=dict(CROSS_ENTROPY, class_weight=[1.0] * 6 + [0.1])))
    check_classes(cfg, BOTH)
    cfg.model.panoptic_head.num_stuff_classes = 53
    with pytest.raises(ConfigError, match=r'panoptic_head\.num_stuff_classes is 53, .* has 0 stuff classes'):
        check_classes(cfg, BOTH)


def test_a_short_palette_of_a_detector_is_a_warning(changed):
    with pytest.warns(match=r'palette has 5 colours for 6 classes: pictures of the others'):
        check_classes(changed(DETECTOR, train_dataloader__dataset__metainfo__palette=[(0, 0, 0)] * 5), BOTH)


# ---- classifiers ----


@pytest.fixture
def folders(changed, tmp_path):
    """The config of a classifier of three folders, each split with one image a class."""
    for split in BOTH:
        for name in ('ant', 'bee', 'cat'):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / '0.jpg').touch()
    cfg = changed(CLASSIFIER, model__head__num_classes=3, model__data_preprocessor__num_classes=3)
    for split in BOTH:
        dataset = dict(type='CustomDataset', data_root=str(tmp_path), data_prefix=split)
        cfg[f'{split}_dataloader'].dataset = dict(dataset, pipeline=[])
    cfg.val_evaluator.topk = (1,)
    return cfg


def test_classifiers_of_folders(folders):
    check_classes(folders, BOTH)
    folders.val_evaluator.topk = (1, 5)
    with pytest.raises(ConfigError, match=r'val_evaluator\.topk: 5 is above the number of classes, 3'):
        check_classes(folders, BOTH)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'model.head.num_classes': 1000}, r'model\.head\.num_classes is 1000, and train_dataloader\.dataset has 3'),
        ({'model.data_preprocessor.num_classes': 10}, r'data_preprocessor\.num_classes is 10, .* has 3 classes'),
        ({'model.head.cal_acc': True, 'model.head.topk': (1, 5)}, r'model\.head\.topk: 5 is above'),
        ({'model.head.loss.class_weight': [1, 2]}, r'head\.loss\.class_weight has 2 weights, expected 3'),
        ({'val_evaluator': [dict(type='Accuracy', topk=4)]}, r'val_evaluator\.0\.topk: 4 is above'),
        (
            {'train_dataloader.dataset.type': 'ImageNet'},
            r'train has 3 sub-folders \(ant, bee, cat\), ImageNet has 1000',
        ),
        ({'train_dataloader.dataset.ann_file': 'bad.txt'}, r"bad\.txt .*line 2: expected 'path label'.*got 'b\.jpg'"),
        ({'train_dataloader.dataset.ann_file': 'none.txt'}, r'none\.txt .*has no lines'),
        (
            {'train_dataloader.dataset.ann_file': 'list.txt', 'train_dataloader.dataset.classes': ['a', 'b', 'c']},
            r'list\.txt .*line 2: label 3 is outside the 3 classes, which count from 0',
        ),
        ({'train_dataloader.dataset.data_prefix': 'train/ant'}, r'train/ant has no sub-folders'),
    ],
)
def test_classifiers(folders, tmp_path, options, message):
    (tmp_path / 'list.txt').write_text('a.jpg 0\nb.jpg 3\n')
    (tmp_path / 'bad.txt').write_text('a.jpg 0\nb.jpg\n')
    (tmp_path / 'none.txt').touch()
    folders.merge_from_dict(options, allow_list_keys=False)
    with pytest.raises(ConfigError, match=message):
        check_classes(folders, BOTH)


def test_folders_of_validation_must_be_those_of_training(folders, tmp_path):
    """mmpretrain numbers the folders of each split for itself."""
    (tmp_path / 'val/bee').rename(tmp_path / 'val/dog')
    with pytest.raises(ConfigError, match=r"class 1 is 'cat', in training 'bee'"):
        check_classes(folders, BOTH)


# ---- stock configs ----

STOCK = [
    'mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb2-40k_cityscapes-512x1024.py',
    'mmseg::mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py',
    'mmseg::stdc/stdc1_4xb12-80k_cityscapes-512x1024.py',  # a head for boundaries
    'mmseg::unet/unet-s5-d16_fcn_4xb4-ce-1.0-dice-3.0-40k_drive-64x64.py',
    'mmseg::san/san-vit-b16_coco-stuff164k-640x640.py',
    'mmseg::ocrnet/ocrnet_hr18_4xb2-40k_cityscapes-512x1024.py',
    'mmseg::mae/mae-base_upernet_8xb2-amp-160k_ade20k-512x512.py',
    'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
    'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py',
    'mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py',
    'mmdet::htc/htc_r50_fpn_1x_coco.py',  # a head for stuff
    'mmdet::detr/detr_r50_8xb2-150e_coco.py',
    'mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py',
    'mmdet::seesaw_loss/mask-rcnn_r50_fpn_seesaw-loss_random-ms-2x_lvis-v1.py',
    'mmpretrain::resnet/resnet50_8xb32_in1k.py',
    'mmpretrain::resnet/resnet50_8xb16_cifar10.py',
    'mmpretrain::csra/resnet101-csra_1xb16_voc07-448px.py',
    'mmpretrain::mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py',
    'mmpretrain::arcface/resnet50-arcface_8xb32_inshop.py',
]


@pytest.mark.parametrize('name', STOCK)
def test_stock_configs_pass(name, tmp_path, monkeypatch):
    """Of the three libraries: all of them were checked once; these have what is unusual."""
    monkeypatch.chdir(tmp_path)
    cfg = Config(dict(Config.fromfile(_path(name), import_custom_modules=False)))
    check_classes(cfg, BOTH)
    check_classes(cfg, ('test',))


def _path(name):
    package, _, path = name.partition('::')
    return Path(import_module(package).__file__).parent / '.mim/configs' / path
