"""PackUnlabelled, and the whole pipeline up to the data preprocessor."""

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate, pseudo_collate
from mmengine.model import ImgDataPreprocessor
from mmengine.registry import TRANSFORMS
from mmengine.structures import BaseDataElement

from mmcnv2.datasets import PackUnlabelled

MEAN = [123.675, 116.28, 103.53]
STD = [58.395, 57.12, 57.375]


def results(height=5, width=7, seed=0):
    img = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return dict(img=img, img_path='a.jpg', img_shape=(height, width), ori_shape=(50, 70))


def test_packs_tensor_and_metainfo():
    raw = results()
    packed = PackUnlabelled()(dict(raw))
    assert set(packed) == {'inputs', 'data_samples'}
    assert packed['inputs'].dtype == torch.uint8 and packed['inputs'].is_contiguous()
    assert packed['inputs'].shape == (3, 5, 7)
    assert packed['inputs'][2, 4, 6] == raw['img'][4, 6, 2]
    assert isinstance(packed['data_samples'], BaseDataElement)
    assert packed['data_samples'].metainfo == dict(img_path='a.jpg', img_shape=(5, 7), ori_shape=(50, 70))


def test_accepts_what_the_flip_leaves():
    raw = results()
    flip = TRANSFORMS.build(dict(type='mmcv.RandomFlip', prob=1.0))
    packed = PackUnlabelled()(flip(dict(raw)))
    expected = torch.tensor(raw['img'][:, ::-1].copy()).permute(2, 0, 1)
    assert torch.equal(packed['inputs'], expected) and packed['inputs'].is_contiguous()


@pytest.mark.parametrize('img', [np.zeros((4,), np.uint8), np.zeros((4, 4, 3), np.float64)])
def test_bad_images(img):
    with pytest.raises(TypeError, match='uint8'):
        PackUnlabelled()(dict(results(), img=img))


@pytest.mark.parametrize('collate', [pseudo_collate, default_collate])
def test_data_preprocessor_accepts_the_batch(collate):
    raw = [results(seed=seed) for seed in range(2)]
    batch = collate([PackUnlabelled()(dict(item)) for item in raw])
    inputs = ImgDataPreprocessor(mean=MEAN, std=STD)(batch)['inputs']
    assert inputs.shape == (2, 3, 5, 7) and inputs.dtype == torch.float32
    expected = (np.stack([item['img'] for item in raw]) - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(inputs.permute(0, 2, 3, 1), expected, rtol=1e-5, atol=1e-5)


def test_resize_and_centre_crop_of_mmcv_for_evaluation():
    # The middle of a 60x40 picture is red (RGB); short side to 20, then the middle 16x16.
    img = np.zeros((40, 60, 3), dtype=np.uint8)
    img[8:32, 18:42, 0] = 255
    item = dict(img=img, img_path='a', img_shape=(40, 60), ori_shape=(40, 60))
    for cfg in [
        dict(
            type='mmcv.Resize',
            scale=(100000, 20),
            keep_ratio=True,
            backend='pillow',
            interpolation='bicubic',
        ),
        dict(type='mmcv.CenterCrop', crop_size=16),
        dict(type='mmcnv2.PackUnlabelled'),
    ]:
        item = TRANSFORMS.build(cfg)(item)
    assert item['inputs'].shape == (3, 16, 16)
    assert item['inputs'][0, 8, 8] == 255 and item['inputs'][1:].sum() == 0
    assert item['data_samples'].img_shape[:2] == (16, 16)
    assert item['data_samples'].ori_shape == (40, 60)
