"""The checkpoints that a training starts from: ``load_from`` and ``init_cfg``, compared before training."""

import pytest
import torch
from helpers.configs import ROOT, load
from helpers.foreign import foreign_state_dict
from helpers.models import ARCH, OTHER_ARCH, build_backbone, build_fcmae
from mmengine.config import Config
from mmengine.model import BaseModule
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import CheckpointLoader
from torch import nn

from mmcnv2.engine.safe_loaders import install_safe_loaders
from mmcnv2.preflight import check_checkpoint, check_load_from, check_pretrained, check_weight_files
from mmcnv2.utils.errors import ConfigError


@pytest.fixture(autouse=True)
def safe_loaders(monkeypatch):
    """Those of the tools, for one test."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', CheckpointLoader._schemes.copy())
    install_safe_loaders(Config(dict(default_scope='mmengine')))


def segmenter(classes=7, channels=16, arch=ARCH, auxiliary=True, head='UPerHead', **backbone):
    """mmseg's model on a small backbone."""
    common = dict(num_classes=classes, channels=channels, norm_cfg=dict(type='BN'), align_corners=False)
    model = dict(
        type='EncoderDecoder',
        backbone=dict(type='mmcnv2.ConvNeXtV2', arch=arch, **backbone),
        decode_head=dict(type=head, in_channels=arch['channels'], in_index=[0, 1, 2, 3], **common),
        auxiliary_head=dict(type='FCNHead', in_channels=arch['channels'][2], in_index=2, num_convs=1, **common),
    )
    if not auxiliary:
        del model['auxiliary_head']
    with DefaultScope.overwrite_default_scope('mmseg'):
        return MODELS.build(model)


def detector(classes=3, kind='mask-rcnn'):
    """mmdet's model with narrow heads on a small backbone."""
    cfg = load(ROOT / f'configs/_base_/models/{kind}_convnextv2_fpn.py').model
    cfg.backbone.arch = ARCH
    cfg.neck.update(in_channels=[*ARCH['channels']], out_channels=16)
    cfg.rpn_head.update(in_channels=16, feat_channels=16)
    heads = cfg.roi_head.bbox_head if isinstance(cfg.roi_head.bbox_head, list) else [cfg.roi_head.bbox_head]
    for head in heads:
        head.update(in_channels=16, fc_out_channels=8, num_classes=classes)
    cfg.roi_head.mask_head.update(in_channels=16, conv_out_channels=16, num_classes=classes)
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(cfg)


@pytest.fixture
def said(monkeypatch):
    """The lines logged by the check of ``load_from``."""
    lines = []
    monkeypatch.setattr('mmcnv2.preflight.checkpoints.print_log', lambda text, *_: lines.extend(text.split('\n  ')))
    return lines


@pytest.fixture
def saved(tmp_path):
    """Saves a state dict, returns its path."""

    def save(weights, name='a.pth'):
        weights = weights.state_dict() if isinstance(weights, nn.Module) else weights
        torch.save(dict(state_dict=weights, meta=dict(epoch=1)), tmp_path / name)
        return str(tmp_path / name)

    return save


# ---- load_from ----


def test_other_classes_of_a_segmenter(saved, said):
    path, model = saved(segmenter(classes=7)), segmenter(classes=19)
    loaded = check_load_from(path, model)
    last = {f'{head}.conv_seg.{kind}' for head in ('decode_head', 'auxiliary_head') for kind in ('weight', 'bias')}
    assert loaded == set(model.state_dict()) - last
    assert said[1:] == [
        'decode_head.conv_seg stays fresh: weight is (7, 16, 1, 1), expected (19, 16, 1, 1), bias is (7,), '
        'expected (19,)',
        'auxiliary_head.conv_seg stays fresh: weight is (7, 16, 1, 1), expected (19, 16, 1, 1), bias is (7,), '
        'expected (19,)',
    ]
    with pytest.raises(ConfigError, match=r'4 of .* tensors disagree'):  # of a test or a run to resume
        check_checkpoint(path, model)


def test_other_classes_of_a_detector(saved, said):
    check_load_from(saved(detector(classes=3)), detector(classes=5))
    parts = ['bbox_head.fc_cls', 'bbox_head.fc_reg', 'mask_head.conv_logits']
    assert [line.split(' stays fresh: ')[0] for line in said[1:]] == [f'roi_head.{part}' for part in parts]


def test_the_same_model_is_loaded_whole(saved, said):
    assert check_load_from(saved(segmenter()), segmenter()) is None
    assert said == []


def test_heads_that_one_of_the_two_lacks(saved, said):
    """Cascade Mask R-CNN from Mask R-CNN, and an auxiliary head more or less."""
    check_load_from(saved(detector()), detector(kind='cascade-mask-rcnn'))
    assert 'roi_head.bbox_head.0 stays fresh: the checkpoint has no such part' in said
    assert 'roi_head.bbox_head.fc_cls is left out: the model has no such part' in said
    said.clear()
    check_load_from(saved(segmenter(auxiliary=False)), segmenter())
    assert said[1:] == ['auxiliary_head stays fresh: the checkpoint has no such part']
    said.clear()
    assert 'auxiliary_head.conv_seg.bias' not in check_load_from(saved(segmenter()), segmenter(auxiliary=False))
    assert said[1:] == ['auxiliary_head is left out: the model has no such part']


def test_output_norms_that_the_checkpoint_lacks(saved, said):
    check_load_from(saved(segmenter(out_norm=False)), segmenter())
    assert said[1:] == [f'backbone.norm{i} stays fresh: the checkpoint has no such part' for i in range(4)]


@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_a_backbone_alone_is_refused_with_the_way_out(saved, prefix):
    path = saved({f'{prefix}{key}': value for key, value in build_fcmae().backbone.state_dict().items()})
    with pytest.raises(ConfigError) as error:
        check_load_from(path, segmenter())
    way_out = str(error.value).partition('--cfg-options ')[2]
    setting = 'model.backbone.init_cfg'
    expected = f'{setting}.type=Pretrained {setting}.checkpoint={path}'
    assert way_out == (f'{expected} {setting}.prefix={prefix}' if prefix else expected)
    options = dict(option.removeprefix(f'{setting}.').split('=') for option in way_out.split())
    check_pretrained(segmenter(init_cfg=options))


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        (lambda: segmenter(arch=OTHER_ARCH), 'does not fit the model of the config.*tensors disagree'),
        (lambda: segmenter(in_channels=4), r'downsample_layers\.0\.0\.weight is \(4, 4, 4, 4\), expected \(4, 3'),
        (lambda: segmenter(arch=dict(ARCH, depths=(1, 1, 3, 1))), r'backbone\.stages\.2\.2 is in the checkpoint'),
        (lambda: foreign_state_dict('timm', build_backbone()), 'PretrainedConvNeXtV2'),
        (lambda: build_fcmae(OTHER_ARCH), 'does not fit the model of the config'),
        (lambda: dict([*segmenter().state_dict().items()][-20:]), 'does not fit the model of the config'),
    ],
)  # fmt: skip
def test_what_fits_nowhere_near(saved, given, message):
    with pytest.raises(ConfigError, match=f'(?s)load_from: .*{message}'):
        check_load_from(saved(given()), segmenter())


# ---- init_cfg ----


class Net(BaseModule):
    """A model of another package: no part of it reads its weights in its own way."""

    def __init__(self, width=4, **kwargs):
        super().__init__(**kwargs)
        self.backbone = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        self.head = nn.Linear(2, width)


def initialised(checkpoint, **options):
    return Net(init_cfg=dict(type='Pretrained', checkpoint=checkpoint, **options))


def test_whole_models_by_pretrained(saved):
    check_pretrained(initialised(saved(Net())))
    check_pretrained(initialised(saved(Net(width=5))))  # MMEngine warns of the head
    with pytest.raises(ConfigError, match=r'model\.init_cfg: checkpoint .* has none of the 6 tensors of Net'):
        check_pretrained(initialised(saved({'x.weight': torch.zeros(2)})))
    with pytest.raises(ConfigError, match=r'Set model\.init_cfg\.prefix=student\.'):
        check_pretrained(initialised(saved({f'student.{key}': value for key, value in Net().state_dict().items()})))
    with pytest.raises(ConfigError, match=r'5 of 6 tensors disagree'):
        check_pretrained(initialised(saved(dict([*Net().state_dict().items()][:1]))))
    with pytest.raises(ConfigError, match=r'(?s)6 of 6 tensors disagree.*is \(3,\), expected \(2, 2\)'):
        check_pretrained(initialised(saved({key: torch.zeros(3) for key in Net().state_dict()})))


def test_lists_and_overrides(saved):
    path = saved({'other.weight': torch.zeros(4, 2), 'other.bias': torch.zeros(4)})
    override = dict(type='Pretrained', name='head', checkpoint=path, prefix='other')
    normal = dict(type='Normal', layer='Linear', std=0.1)
    check_pretrained(Net(init_cfg=[normal, dict(normal, override=override)]))
    with pytest.raises(ConfigError, match=r"model\.init_cfg\.override\.prefix: .* no key that starts with 'oter\.'"):
        check_pretrained(Net(init_cfg=[normal, dict(normal, override=dict(override, prefix='oter'))]))


def test_backbones_by_pretrained(saved):
    """Of the wrong size, and without the prefix that the checkpoint has."""
    path = saved(build_fcmae())
    for prefix, arch, message in (
        ('backbone.', OTHER_ARCH, 'does not fit this ConvNeXtV2; .* tensors disagree'),
        (None, ARCH, r'Set model\.backbone\.init_cfg\.prefix=backbone\.'),
    ):
        init_cfg = dict(type='Pretrained', checkpoint=path, prefix=prefix)
        with pytest.raises(ConfigError, match=rf'model\.backbone\.init_cfg: .*{message}'):
            check_pretrained(segmenter(arch=arch, init_cfg=init_cfg))


def test_our_initializer_is_checked_too(saved):
    init_cfg = dict(type='mmcnv2.PretrainedConvNeXtV2', checkpoint=saved(foreign_state_dict('timm', build_backbone())))
    check_pretrained(segmenter(init_cfg=init_cfg))
    with pytest.raises(ConfigError, match=r'model\.backbone\.init_cfg: .*a\.pth \(timm\) does not fit'):
        check_pretrained(segmenter(arch=OTHER_ARCH, init_cfg=init_cfg))


def test_official_dense_files_by_pretrained(tmp_path):
    """Nested under ``model``, GRN as rows, the norm and the layer of a classifier beside the backbone."""
    source = build_backbone(out_norm=False)
    torch.save(dict(model=foreign_state_dict('official', source)), tmp_path / 'official.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'official.pth'))
    model = segmenter(init_cfg=init_cfg)
    check_pretrained(model)
    model.backbone.init_weights()
    loaded = model.backbone.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in source.state_dict().items())


# ---- files ----


@pytest.mark.parametrize(
    ('model', 'setting'),
    [
        (dict(init_cfg=dict(type='Pretrained', checkpoint='no.pth')), 'model.init_cfg.checkpoint'),
        (dict(backbone=dict(init_cfg=dict(checkpoint='no.pth'))), 'model.backbone.init_cfg.checkpoint'),
        (dict(head=dict(init_cfg=[dict(override=[dict(checkpoint='no.pth')])])), 'model.head.init_cfg.0.override.0'),
        (dict(detector=dict(neck=dict(init_cfg=dict(checkpoint='no.pth')))), 'model.detector.neck.init_cfg'),
        (dict(teacher_ckpt='no.pth'), 'model.teacher_ckpt'),
        (dict(pretrained='no.pth'), 'model.pretrained'),
    ],
)  # fmt: skip
def test_files_that_are_not_there(model, setting):
    with pytest.raises(ConfigError, match=rf'{setting}.*: checkpoint no\.pth does not exist'):
        check_weight_files(Config(dict(model=model)))


def test_names_and_urls_are_left_to_the_loader(saved, monkeypatch):
    path = saved({})
    monkeypatch.setenv('HOME', path.rpartition('/')[0])
    names = ['timm://x', 'torchvision://resnet50', 'open-mmlab://x', 'https://example.org/x.pth', path, '~/a.pth']
    model = {f'part{i}': dict(init_cfg=dict(type='Pretrained', checkpoint=name)) for i, name in enumerate(names)}
    check_weight_files(Config(dict(model=dict(model, pretrained='ViT-B/16', checkpoint='no.pth'), load_from=path)))
    with pytest.raises(ConfigError, match=r'^load_from: checkpoint no\.pth does not exist'):
        check_weight_files(Config(dict(load_from='no.pth')))
    with pytest.raises(ConfigError, match=r'^--resume: checkpoint no\.pth does not exist'):
        check_weight_files(Config(dict(load_from='no.pth', resume=True)))
