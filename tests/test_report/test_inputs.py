"""Labels lie on what they label, in pixels of the input: red rectangles on grey, moved by every transform."""

import json
import re

import cv2
import numpy as np
import pytest
from helpers.commands import call, refusal
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope

from mmcnv2.report import inputs
from mmcnv2.report.inputs import collect_inputs

HEIGHT, WIDTH = 60, 80
BOX = [10, 20, 24, 6]  # x, y, width, height
NORMALIZE = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)


@MODELS.register_module(force=True)
class OnlyAPreprocessor(BaseModel):
    def forward(self, *args, **kwargs):
        raise AssertionError


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Three images with a red rectangle each, as a COCO file, label maps and class folders say it."""
    folder = tmp_path_factory.mktemp('data')
    for name in ('images', 'maps', 'folders/cat', 'folders/dog'):
        (folder / name).mkdir(parents=True)
    x, y, w, h = BOX
    for i in range(3):
        image = np.full((HEIGHT, WIDTH, 3), 90, dtype=np.uint8)
        image[y : y + h, x : x + w] = (0, 0, 255)  # BGR
        cv2.imwrite(str(folder / f'images/{i}.png'), image)
        cv2.imwrite(str(folder / f'folders/{"cat" if i else "dog"}/{i}.png'), image)
        cv2.imwrite(str(folder / f'maps/{i}.png'), (image[..., 1] == 0).astype(np.uint8))
    polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
    content = dict(
        images=[dict(id=i, file_name=f'{i}.png', height=HEIGHT, width=WIDTH) for i in range(3)],
        categories=[dict(id=2, name='brick'), dict(id=1, name='stone')],
        annotations=[
            dict(id=i + 1, image_id=i, category_id=2, bbox=BOX, area=w * h, iscrowd=0, segmentation=[polygon])
            for i in range(3)
        ],
    )
    (folder / 'coco.json').write_text(json.dumps(content))
    return folder


def look(monkeypatch, cfg, split='train', **kwargs):
    """What is collected, and (labels, picture as the input is) of each sample."""
    cfg, seen = Config(cfg), []

    def draw(self, picture, classes):
        seen.append((self, picture))
        return picture

    monkeypatch.setattr(inputs._Labels, 'draw', draw)
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        found = collect_inputs(cfg, MODELS.build(cfg.model), split, 9, 9, **kwargs)
    return found, seen


def red(picture):
    return (picture[..., 0] > 200) & (picture[..., 1] < 60)


def assert_near(box, mask):
    """The box is that of the mask, to a pixel and a half: interpolation blurs edges."""
    rows, columns = np.nonzero(mask)
    expected = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert np.abs(box - expected).max() <= 1.5, (box, expected)


def detection(data, pipeline):
    dataset = dict(
        type='CocoDataset',
        data_root=f'{data}/',
        ann_file='coco.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=('brick', 'stone')),
        pipeline=[dict(type='LoadImageFromFile'), *pipeline],
    )
    loader = dict(batch_size=2, num_workers=4, persistent_workers=True, dataset=dataset, drop_last=True)
    loader |= dict(sampler=dict(type='DefaultSampler', shuffle=False))
    preprocessor = dict(type='DetDataPreprocessor', **NORMALIZE, pad_mask=True, pad_size_divisor=32)
    return dict(
        default_scope='mmdet',
        model=dict(type='mmengine.OnlyAPreprocessor', data_preprocessor=preprocessor),
        train_dataloader=loader,
        val_dataloader=loader,
    )


LABELS = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
PACK = dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
RESIZE = dict(type='Resize', scale=(160, 120), keep_ratio=True)


@pytest.mark.parametrize('is_val', [False, True], ids=['train', 'val'])
def test_boxes_and_masks_lie_on_the_objects(monkeypatch, data, is_val):
    """Twice as large, in evaluation with the labels loaded afterwards, and padded from 120 rows to 128."""
    steps = [RESIZE, LABELS, PACK] if is_val else [LABELS, RESIZE, dict(type='RandomFlip', prob=1.0), PACK]
    found, seen = look(monkeypatch, detection(data, steps), 'val' if is_val else 'train')
    assert (found.num_samples, found.num_images, found.counted, found.empty) == (3, 3, 'objects', 0)
    assert found.counts == {'brick': 3, 'stone': 0}
    assert found.sizes == [(160, 128)] * 3
    assert found.object_sides == pytest.approx([2 * np.sqrt(24 * 6)] * 3, rel=0.01)
    for labels, picture in seen:
        assert picture.shape == (128, 160, 3) and picture.dtype == np.uint8
        assert_near(labels.boxes[0], red(picture))
        assert_near(labels.boxes[0], labels.masks[0])
        assert labels.masks.shape == (1, 128, 160) and (labels.boxes[0, 0] > 80) == (not is_val)  # flipped


def test_normalization_is_undone_and_padding_is_what_the_network_gets(monkeypatch, data):
    """Grey comes back as it was; below it the zeros of the padding, which are the mean."""
    _, seen = look(monkeypatch, detection(data, [LABELS, PACK]))
    picture = seen[0][1]
    assert (picture[:20, :40] == 90).all()
    assert (picture[HEIGHT:] == np.round(NORMALIZE['mean'])).all()


def test_several_objects_are_drawn_with_masks_and_boxes(data):
    cfg = Config(detection(data, [LABELS, PACK]))
    with DefaultScope.overwrite_default_scope('mmdet'):
        found = collect_inputs(cfg, MODELS.build(cfg.model), 'train', 2, 1)
    assert len(found.pictures) == 1 and found.num_samples == 2
    assert found.pictures[0].shape == (256, 384, 3)  # 64 x 96 with its padding, the longer side as in a sheet
    factor = 384 / 96
    inside = found.pictures[0][int((20 + 3) * factor), int((10 + 12) * factor)]
    assert inside[2] > 60  # tinted: it was pure red


@pytest.mark.parametrize('is_val', [False, True], ids=['train', 'val'])
def test_label_maps_lie_on_the_pixels(monkeypatch, data, is_val):
    resize, flip, pack = dict(RESIZE, scale=(120, 90)), dict(type='RandomFlip', prob=1.0), dict(type='PackSegInputs')
    labels = dict(type='LoadAnnotations')
    steps = [resize, labels, pack] if is_val else [labels, resize, flip, pack]
    dataset = dict(
        type='BaseSegDataset',
        data_root=f'{data}/',
        data_prefix=dict(img_path='images', seg_map_path='maps'),
        img_suffix='.png',
        metainfo=dict(classes=('background', 'brick', 'stone'), palette=[[0, 0, 0]] * 3),
        pipeline=[dict(type='LoadImageFromFile'), *steps],
    )
    loader = dict(batch_size=1, dataset=dataset, sampler=dict(type='InfiniteSampler', shuffle=True))
    preprocessor = dict(type='SegDataPreProcessor', **NORMALIZE, size=(96, 128), pad_val=0, seg_pad_val=255)
    preprocessor |= dict(test_cfg=dict(size=(96, 128)))
    cfg = dict(
        default_scope='mmseg',
        model=dict(type='mmengine.OnlyAPreprocessor', data_preprocessor=preprocessor),
        train_dataloader=loader,
        val_dataloader=loader,
    )
    found, seen = look(monkeypatch, cfg, 'val' if is_val else 'train')
    assert found.num_samples == 9 and found.sizes == [(128, 96)] * 9  # an infinite sampler ends all the same
    assert found.counted == 'pixels' and found.counts['stone'] == 0
    assert found.counts['brick'] / found.counts['background'] == pytest.approx(24 * 6 / (60 * 80 - 24 * 6), rel=0.1)
    for labels, picture in seen:
        assert labels.label_map.shape == picture.shape[:2] == (96, 128)
        assert (labels.label_map[90:] == 255).all() and (labels.label_map[:, 120:] == 255).all()
        rows, columns = np.nonzero(labels.label_map == 1)
        assert_near(np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]), red(picture))


def test_mixed_classes_are_named_with_their_shares(monkeypatch, data):
    pytest.importorskip('mmpretrain')
    augments = dict(augments=[dict(type='mmpretrain.Mixup', alpha=1.0)])
    preprocessor = dict(type='ClsDataPreprocessor', num_classes=2, batch_augments=augments)
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    dataset = dict(type='CustomDataset', data_root=f'{data}/folders', pipeline=pipeline)
    sampler = dict(type='DefaultSampler', shuffle=False)
    cfg = dict(
        default_scope='mmpretrain',
        model=dict(type='mmengine.OnlyAPreprocessor', data_preprocessor=preprocessor),
        train_dataloader=dict(batch_size=3, dataset=dataset, sampler=sampler),
    )
    found, seen = look(monkeypatch, cfg)
    assert found.classes == ('cat', 'dog') and found.counted == 'images'
    assert all(sum(labels.scores.values()) == pytest.approx(1) for labels, _ in seen)
    assert any(0 < labels.scores.get(0, 0) < 1 for labels, _ in seen)


def test_patches_are_removed_as_the_model_masks_them(data):
    """10 of 16 patches at a ratio of 0.6 (6.4 visible, rounded down); those that stay are the input."""
    pipeline = [dict(type='mmcnv2.LoadRandomResizedCrop', size=128), dict(type='mmcnv2.PackUnlabelled')]
    cfg = Config(
        dict(
            default_scope='mmengine',
            model=dict(
                type='mmcnv2.FCMAE',
                backbone=dict(type='mmcnv2.ConvNeXtV2', arch=dict(depths=[1, 1, 1, 1], channels=[8, 8, 8, 8])),
                decoder_embed_dims=8,
                data_preprocessor=dict(type='mmcnv2.ImgDataPreprocessor', mean=[120.0] * 3, std=[60.0] * 3),
            ),
            train_dataloader=dict(
                batch_size=64,
                dataset=dict(type='mmcnv2.UnlabelledImages', data_root=f'{data}/images', pipeline=pipeline),
                sampler=dict(type='DefaultSampler', shuffle=True),
            ),
        )
    )
    model = MODELS.build(cfg.model)
    found = collect_inputs(cfg, model, 'train', 3, 3)
    assert found.counts == {} and found.sizes == [(128, 128)] * 3
    for picture in found.pictures:
        whole, masked = picture[:, :192], picture[:, 196:]
        cells = [np.s_[y : y + 48, x : x + 48] for y in range(0, 192, 48) for x in range(0, 192, 48)]
        removed = [bool((masked[cell] == 128).all()) for cell in cells]
        assert sum(removed) == 10
        assert all((masked[cell] == whole[cell]).all() for cell, gone in zip(cells, removed, strict=True) if not gone)


def test_a_seed_gives_the_same_inputs(data, toy_scenes):
    pictures = []
    for seed in (0, 0, 1):
        steps = [LABELS, dict(type='RandomFlip', prob=0.5), dict(type='RandomCrop', crop_size=(30, 60)), PACK]
        cfg = Config(detection(data, steps))
        with DefaultScope.overwrite_default_scope('mmdet'):
            pictures.append(collect_inputs(cfg, MODELS.build(cfg.model), 'train', 3, 3, seed=seed).pictures)
    assert all((a == b).all() for a, b in zip(*pictures[:2], strict=True))
    assert any(a.shape != b.shape or (a != b).any() for a, b in zip(pictures[0], pictures[2], strict=True))


def test_the_command_writes_one_page_and_its_files(root, toy_scenes, tmp_path, capsys):
    config = root / 'configs/toy/upernet_convnextv2-atto_toy-scenes.py'
    options = [f'{split}_dataloader.dataset.data_root={toy_scenes}/' for split in ('train', 'val')]
    arguments = ['--cfg-options', *options, '--samples', 5, '--pictures', 2, '--out', tmp_path / 'look']
    call('browse', config, *arguments)
    said = capsys.readouterr().out.splitlines()
    assert said[-3].startswith('train: 5 samples of 8 images; 128x128 pixels; 81920 pixels of ')
    assert said[-2].startswith('val: 4 samples of 4 images; 128x128 pixels; ')
    page = (tmp_path / 'look/browse.html').read_text()
    assert said[-1] == str(tmp_path / 'look/browse.html')
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    names = {f'{split}{end}' for split in ('train', 'val') for end in ('.png', '_histograms.png', '_classes.csv')}
    assert {path.name for path in (tmp_path / 'look').iterdir()} == {'browse.html', *names}


def test_what_cannot_be_browsed(root, toy_scenes, tmp_path):
    config = root / 'configs/toy/fcmae_convnextv2-atto_toy-scenes.py'
    options = ['--cfg-options', f'train_dataloader.dataset.data_root={toy_scenes}/', '--out', tmp_path]
    assert 'has no val_dataloader: leave out val' in refusal('browse', config, *options, '--splits', 'val')
    missing = ['--cfg-options', 'train_dataloader.dataset.data_root=nowhere/']
    assert 'nowhere' in refusal('browse', config, *missing)
    assert refusal('browse', config, *options, '--samples', 0) == 'error: --samples must be positive, got 0'
