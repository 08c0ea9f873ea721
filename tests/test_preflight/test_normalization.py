"""Weights that were trained on images with another mean and std."""

from fractions import Fraction

import pytest
import torch
from helpers.models import ARCH, build_fcmae
from mmengine.config import Config

from mmcnv2.preflight import check_normalization, check_weights
from mmcnv2.registry import MODELS

GREY = dict(type='ImgDataPreprocessor', mean=[45.0] * 3, std=[70.0] * 3)
USUAL = dict(type='ImgDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


@pytest.fixture
def warned(monkeypatch):
    messages = []
    monkeypatch.setattr('mmcnv2.preflight.normalization.print_log', lambda message, *args: messages.append(message))
    return messages


def training(preprocessor, path, initializer='mmcnv2.PretrainedConvNeXtV2'):
    init_cfg = dict(type=initializer, checkpoint=str(path))
    if initializer == 'Pretrained':
        init_cfg['prefix'] = 'backbone.'
    backbone = dict(type='mmcnv2.ConvNeXtV2', arch=ARCH, init_cfg=init_cfg)
    return Config(dict(model=dict(type='mmcnv2.FCMAE', backbone=backbone, data_preprocessor=preprocessor)))


def pretrained(path, preprocessor=None):
    meta = (
        {} if preprocessor is None else dict(cfg=Config(dict(model=dict(data_preprocessor=preprocessor))).pretty_text)
    )
    torch.save(dict(state_dict=build_fcmae(ARCH).state_dict(), meta=meta), path)
    return path


@pytest.mark.parametrize('initializer', ['mmcnv2.PretrainedConvNeXtV2', 'Pretrained'])
def test_another_mean_and_std_are_named_with_the_cure(tmp_path, warned, initializer):
    path = pretrained(tmp_path / 'grey.pth', GREY)
    cfg = training(USUAL, path, initializer)
    check_weights(cfg, MODELS.build(cfg.model))
    (message,) = warned
    assert message.startswith(
        f'model.backbone.init_cfg.checkpoint: {path} was trained on images normalised with mean 45'
    )
    assert 'this training has mean 123.675, 116.28, 103.53, std 58.395' in message
    assert 'data_preprocessor=dict(mean=[45.0, 45.0, 45.0], std=[70.0, 70.0, 70.0])' in message


@pytest.mark.parametrize(
    ('of_weights', 'of_training'),
    [(GREY, GREY), (USUAL, USUAL), (None, GREY), (dict(mean=[1] * 6, std=[1] * 6), USUAL)],
)
def test_nothing_is_said_of_the_same_unknown_ones_and_other_bands(tmp_path, warned, of_weights, of_training):
    cfg = training(of_training, pretrained(tmp_path / 'a.pth', of_weights))
    check_weights(cfg, MODELS.build(cfg.model))
    assert not warned


def test_a_checkpoint_that_may_run_code(tmp_path, warned):
    """It is read where the training was allowed to read it."""
    path = pretrained(tmp_path / 'a.pth', GREY)
    torch.save(dict(torch.load(path), args=Fraction(1, 3)), path)
    cfg = training(USUAL, path)
    check_normalization(cfg)
    assert not warned
    check_normalization(cfg, allow_pickle=True)
    assert len(warned) == 1 and 'normalised with mean 45' in warned[0]


def test_load_from(tmp_path, warned):
    cfg = training(USUAL, pretrained(tmp_path / 'a.pth', USUAL))
    cfg.load_from = str(pretrained(tmp_path / 'grey.pth', GREY))
    check_weights(cfg, MODELS.build(cfg.model))
    (message,) = warned
    assert message.startswith(f'load_from: {cfg.load_from} was trained on images normalised with mean 45')
