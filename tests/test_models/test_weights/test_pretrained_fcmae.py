"""PretrainedFCMAE: the loss in the official layout is that of its code; what is not loaded is said or refused."""

import argparse
import logging
from pathlib import Path

import pytest
import torch
from helpers import official_fcmae
from helpers.foreign import foreign_state_dict, official_fcmae_state_dict
from helpers.models import OTHER_ARCH, build_fcmae, error
from mmengine.registry import MODELS

from mmcnv2.preflight import check_pretrained
from mmcnv2.utils.errors import ConfigError


def build(checkpoint, arch=OTHER_ARCH, in_channels=3, network='ConvNeXtV2', init_cfg=None, **kwargs):
    init_cfg = dict(type='mmcnv2.PretrainedFCMAE', checkpoint=str(checkpoint), **(init_cfg or {}))
    backbone = dict(type=f'mmcnv2.{network}', arch=arch, in_channels=in_channels)
    options = dict(decoder_embed_dims=12) | kwargs
    return MODELS.build(dict(type='mmcnv2.FCMAE', backbone=backbone, init_cfg=init_cfg, **options))


def load(*args, **kwargs):
    model = build(*args, **kwargs)
    model.init_weights()
    return model


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'weights.pth'


def test_loss_and_gradients_are_those_of_the_official_code(path):
    """GRN per sample, or a batch of one: the official norm over the whole batch gives another loss."""
    source = build_fcmae(OTHER_ARCH, decoder_depth=2)
    args = argparse.Namespace(lr=1.5e-4, output_dir=Path('out'))  # which main_pretrain.py saves, too
    torch.save(dict(model=official_fcmae_state_dict(source), args=args, epoch=3), path)
    model = load(path, decoder_depth=2).double()
    weights = {k: v.double().requires_grad_() for k, v in torch.load(path, weights_only=False)['model'].items()}
    images = torch.randn(2, 3, 96, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    mask = torch.tensor([[[1, 0], [1, 1], [0, 1]], [[0, 1], [1, 0], [1, 1]]]).bool()

    expected = official_fcmae.loss(weights, images, mask, norm_over_batch=False)
    actual = model.loss(images, mask=mask)['loss']
    assert error(actual.detach(), expected.detach()) < 1e-10
    actual.backward()
    expected.backward()
    kernel = weights['encoder.stages.2.0.dwconv.kernel'].grad.T.reshape(14, 1, 7, 7).mT
    assert error(model.backbone.stages[2][0].dwconv.weight.grad, kernel) < 1e-8
    assert error(model.decoder[1].grn.gamma.grad, weights['decoder.1.grn.gamma'].grad.flatten()) < 1e-8
    assert error(model.mask_token.grad, weights['mask_token'].grad) < 1e-8

    with torch.no_grad():
        one = official_fcmae.loss(weights, images[:1], mask[:1])
        assert error(model.loss(images[:1], mask=mask[:1])['loss'], one) < 1e-10
        assert error(actual, official_fcmae.loss(weights, images, mask)) > 1e-4


@pytest.mark.parametrize('prefix', [None, 'student.'])
@pytest.mark.parametrize('nested', [None, 'state_dict'])
@pytest.mark.parametrize('network', ['ConvNeXtV2', 'ConvNeXt'])
def test_ours(path, network, nested, prefix):
    source = build_fcmae(OTHER_ARCH, backbone=dict(type=f'mmcnv2.{network}')).state_dict()
    weights = {(prefix or '') + key: value for key, value in source.items()}
    torch.save(weights if nested is None else {nested: weights}, path)
    loaded = load(path, network=network, init_cfg=dict(prefix=prefix)).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in source.items())


@pytest.fixture
def warnings(monkeypatch):
    from mmcnv2.models.weights import pretrained

    lines = []
    monkeypatch.setattr(
        pretrained, 'print_log', lambda text, _, level: lines.append(text) if level == logging.WARNING else None
    )
    return lines


@pytest.mark.parametrize('layout', ['official', 'timm'])
def test_an_encoder_alone_loads_and_one_warning_says_what_is_fresh(path, layout, warnings):
    source = build_fcmae(OTHER_ARCH)
    torch.save(foreign_state_dict(layout, source.backbone), path)
    torch.manual_seed(5)
    fresh = build(path).state_dict()
    torch.manual_seed(5)
    loaded = load(path).state_dict()
    for key, value in source.state_dict().items():
        assert torch.equal(loaded[key], value if key.startswith('backbone.') else fresh[key])
    encoder, total = len(source.backbone.state_dict()), len(loaded)
    said = f'{encoder} of {total} tensors from {path} ({layout}); fresh: mask_token, proj, decoder, pred'
    assert warnings == [said]


def test_other_input_channels(path, warnings):
    source = build_fcmae(OTHER_ARCH)
    torch.save(official_fcmae_state_dict(source), path)
    with pytest.raises(ValueError, match='the stem has 3 input channels, expected 5: adapt_in_channels=True'):
        load(path, in_channels=5)
    model = load(path, in_channels=5, init_cfg=dict(adapt_in_channels=True))
    assert warnings[0].endswith('fresh: pred')
    assert torch.equal(model.decoder[0].dwconv.weight, source.decoder[0].dwconv.weight)


@pytest.mark.parametrize(
    ('change', 'options', 'message'),
    [
        (lambda w: w.pop('decoder.0.grn.beta'), {}, r'decoder\.0\.grn\.beta is missing'),
        (lambda w: None, dict(decoder_embed_dims=16), r'proj\.weight is \(12, 10, 1, 1\), expected \(16, 10, 1, 1\)'),
        (lambda w: None, dict(decoder_depth=2), r'decoder\.1\.dwconv\.weight is missing'),
        (lambda w: None, dict(network='ConvNeXt'), r"is of a ConvNeXtV2: take it with type='mmcnv2\.ConvNeXtV2'"),
        (lambda w: w.pop('encoder.stages.3.2.grn.beta'), {}, r'backbone\.stages\.3\.2\.grn\.beta is missing'),
        (lambda w: [w.pop(k) for k in list(w) if k[:2] == 'en'], {}, 'has no weights of a ConvNeXt V2'),
    ],
)
def test_anything_else_is_refused_before_training_too(path, change, options, message):
    weights = official_fcmae_state_dict(build_fcmae(OTHER_ARCH))
    torch.save(weights, path)
    check_pretrained(build(path))
    change(weights)
    torch.save(weights, path)
    model = build(path, **options)
    with pytest.raises(ConfigError, match=rf'(?s)model\.init_cfg: .*weights\.pth.*{message}'):
        check_pretrained(model)
    with pytest.raises(ValueError, match=message):
        model.init_weights()


def test_only_for_fcmae():
    from mmcnv2.models import PretrainedFCMAE

    with pytest.raises(ValueError, match=r'initialises a mmcnv2\.FCMAE, got Linear'):
        PretrainedFCMAE('x.pth')(torch.nn.Linear(2, 2))
