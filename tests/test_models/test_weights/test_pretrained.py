"""PretrainedConvNeXtV2: weights written in every layout give the features of the network they come from."""

import logging

import pytest
import torch
from helpers.foreign import NAMES, foreign_state_dict, sparse_state_dict
from helpers.models import ARCH, OTHER_ARCH, build_backbone, build_fcmae, case
from mmengine.logging import MMLogger
from mmengine.registry import MODELS

from mmcnv2.models import ConvNeXtV2
from mmcnv2.models.weights.pretrained import adapt_in_channels


def load(checkpoint, arch=ARCH, **kwargs):
    """A backbone whose ``init_weights`` has run, as a runner calls it."""
    options = {key: kwargs.pop(key) for key in ('prefix', 'adapt_in_channels', 'allow_pickle') if key in kwargs}
    init_cfg = dict(type='mmcnv2.PretrainedConvNeXtV2', checkpoint=str(checkpoint), **options)
    torch.manual_seed(7)
    model = MODELS.build(dict(type='mmcnv2.ConvNeXtV2', arch=arch, init_cfg=init_cfg, **kwargs))
    model.init_weights()
    return model


@pytest.fixture
def log():
    """What goes to the current logger."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


@pytest.fixture
def source():
    return build_backbone(OTHER_ARCH, out_norm=False).eval()


def assert_same_features(model, source):
    _, images, mask = case('square', torch.float32)
    with torch.no_grad():
        for args in ((images,), (images, mask)):
            for actual, expected in zip(model.eval()(*args), source(*args), strict=True):
                assert torch.equal(actual, expected)


@pytest.mark.parametrize('nested', [None, 'model', 'state_dict'])
@pytest.mark.parametrize('layout', NAMES)
def test_layouts(layout, nested, source, tmp_path, log):
    weights = foreign_state_dict(layout, source)
    torch.save(weights if nested is None else {nested: weights, 'epoch': 3}, tmp_path / 'weights.pth')
    assert_same_features(load(tmp_path / 'weights.pth', OTHER_ARCH, out_norm=False), source)
    (line,) = [line for line in log if 'tensors from' in line]
    total = len(source.state_dict())
    assert line.startswith(f'{total} of {total} tensors from ')
    assert f'({layout})' in line
    assert line.endswith('fresh: nothing')


def test_official_sparse_pre_training(source, tmp_path, log):
    torch.save(dict(model=sparse_state_dict(source)), tmp_path / 'weights.pth')
    assert_same_features(load(tmp_path / 'weights.pth', OTHER_ARCH, out_norm=False), source)
    assert any('(official-fcmae)' in line for line in log)


def test_ours_with_and_without_prefix(tmp_path):
    model = build_fcmae(OTHER_ARCH, backbone=dict(out_indices=(0, 1, 2, 3))).eval()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'fcmae.pth')
    torch.save(model.backbone.state_dict(), tmp_path / 'backbone.pth')
    torch.save({f'module.{k}': v for k, v in model.state_dict().items()}, tmp_path / 'ddp.pth')
    for name in ('fcmae', 'backbone', 'ddp'):
        assert_same_features(load(tmp_path / f'{name}.pth', OTHER_ARCH, out_norm=False), model.backbone)


def test_a_prefix_that_is_not_usual(source, tmp_path):
    torch.save({f'student.net.{k}': v for k, v in source.state_dict().items()}, tmp_path / 'weights.pth')
    assert_same_features(load(tmp_path / 'weights.pth', OTHER_ARCH, out_norm=False, prefix='student.net.'), source)
    with pytest.raises(ValueError, match='no weights of a ConvNeXt V2'):
        load(tmp_path / 'weights.pth', OTHER_ARCH)
    with pytest.raises(ValueError, match=r"no key that starts with the prefix 'teacher\."):
        load(tmp_path / 'weights.pth', OTHER_ARCH, prefix='teacher.')


def test_output_norms(tmp_path, log):
    """Loaded where theirs are those of maps, as in transformers' backbone; else fresh, which the log says."""
    source = build_backbone(OTHER_ARCH).eval()
    weights = {
        key.replace('convnextv2.', ''): value
        for key, value in foreign_state_dict('transformers', source).items()
        if key.startswith('convnextv2.e')
    }
    weights |= {
        f'hidden_states_norms.stage{i + 1}.{kind}': source.state_dict()[f'norm{i}.{kind}']
        for i in range(4)
        for kind in ('weight', 'bias')
    }
    torch.save(weights, tmp_path / 'weights.pth')
    assert_same_features(load(tmp_path / 'weights.pth', OTHER_ARCH), source)

    torch.save(foreign_state_dict('official', source), tmp_path / 'classifier.pth')
    model = load(tmp_path / 'classifier.pth', OTHER_ARCH)
    for i in range(4):
        assert torch.equal(getattr(model, f'norm{i}').weight, torch.ones(OTHER_ARCH['channels'][i]))
    norms = ', '.join(f'norm{i}.{kind}' for i in range(4) for kind in ('weight', 'bias'))
    assert any(line.endswith(f'fresh: {norms}') for line in log)


@pytest.mark.parametrize('missing', [range(4), [3]])
def test_output_norms_by_pretrained_of_mmengine(missing, source, tmp_path, log):
    """One line says that they start fresh, instead of a page of missing keys."""
    weights = build_backbone(OTHER_ARCH).state_dict()
    weights = {key: value for key, value in weights.items() if key.split('.')[0] not in {f'norm{i}' for i in missing}}
    torch.save({f'backbone.{key}': value for key, value in weights.items()}, tmp_path / 'a.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'a.pth'), prefix='backbone.')
    model = MODELS.build(dict(type='mmcnv2.ConvNeXtV2', arch=OTHER_ARCH, init_cfg=init_cfg))
    model.init_weights()
    norms = ', '.join(f'norm{i}' for i in missing)
    said = [line for line in log if 'norm3' in line and 'init' not in line]  # MMEngine also lists all parameters
    assert said == [f'output norms {norms} start fresh: the checkpoint has none, as after pre-training']
    # Elsewhere nothing is let through.
    with pytest.raises(RuntimeError, match=r'Missing key.*norm3\.weight'):
        model.load_state_dict(weights)
    del weights['stages.0.0.grn.gamma']
    torch.save({f'backbone.{key}': value for key, value in weights.items()}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'stages\.0\.0\.grn\.gamma is missing'):
        MODELS.build(dict(type='mmcnv2.ConvNeXtV2', arch=OTHER_ARCH, init_cfg=init_cfg)).init_weights()


@pytest.mark.parametrize('layout', NAMES)
def test_shapes_that_disagree_are_listed(layout, source, tmp_path):
    torch.save(foreign_state_dict(layout, source), tmp_path / 'weights.pth')
    channels = (6, 4, 14, 12)
    with pytest.raises(ValueError) as error:
        load(tmp_path / 'weights.pth', dict(OTHER_ARCH, channels=channels))
    message = str(error.value)
    assert f'weights.pth ({layout}) does not fit' in message
    assert 'does not fit this ConvNeXtV2 (depths (2, 1, 1, 3), channels (6, 4, 14, 12))' in message
    assert 'downsample_layers.3.1.weight is (10, 14, 2, 2), expected (12, 14, 2, 2)' in message


def test_missing_and_surplus_blocks_are_listed(source, tmp_path):
    torch.save(foreign_state_dict('timm', source), tmp_path / 'weights.pth')
    deeper, shallower = dict(OTHER_ARCH, depths=(2, 1, 2, 3)), dict(OTHER_ARCH, depths=(2, 1, 1, 2))
    with pytest.raises(ValueError, match=r'10 disagree:\n  stages\.2\.1\.dwconv\.weight is missing'):
        load(tmp_path / 'weights.pth', deeper)
    with pytest.raises(ValueError, match=r'stages\.3\.2 is in the checkpoint, and the model has no such part'):
        load(tmp_path / 'weights.pth', shallower)


def test_nothing_is_loaded_when_something_is_wrong(source, tmp_path):
    weights = foreign_state_dict('official', source)
    del weights['stages.3.2.grn.beta']
    torch.save(weights, tmp_path / 'weights.pth')
    model = MODELS.build(
        dict(
            type='mmcnv2.ConvNeXtV2',
            arch=OTHER_ARCH,
            init_cfg=dict(type='mmcnv2.PretrainedConvNeXtV2', checkpoint=str(tmp_path / 'weights.pth')),
        )
    )
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r'1 disagree:\n  stages\.3\.2\.grn\.beta is missing'):
        model.init_weights()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_something_else_altogether(tmp_path):
    torch.save({'conv1.weight': torch.zeros(3), 'fc.bias': torch.zeros(2)}, tmp_path / 'resnet.pth')
    with pytest.raises(ValueError, match=r'resnet\.pth: .*holds 2 tensors \(conv1\.weight, fc\.bias\.\.\.\)'):
        load(tmp_path / 'resnet.pth')


def test_only_for_our_backbone(tmp_path):
    from mmengine.registry import WEIGHT_INITIALIZERS

    init = WEIGHT_INITIALIZERS.build(dict(type='mmcnv2.PretrainedConvNeXtV2', checkpoint='x.pth'))
    with pytest.raises(ValueError, match=r'initialises a mmcnv2\.ConvNeXtV2 or a mmcnv2\.ConvNeXt, got Linear'):
        init(torch.nn.Linear(2, 2))


@pytest.mark.parametrize('layout', ['official', 'timm'])
def test_other_input_channels(layout, source, tmp_path):
    torch.save(foreign_state_dict(layout, source), tmp_path / 'weights.pth')
    with pytest.raises(ValueError, match=r'the stem has 3 input channels, expected 5: adapt_in_channels=True'):
        load(tmp_path / 'weights.pth', OTHER_ARCH, in_channels=5)
    model = load(tmp_path / 'weights.pth', OTHER_ARCH, in_channels=5, adapt_in_channels=True)
    stem = source.downsample_layers[0][0].weight
    expected = torch.stack([stem[:, i] for i in (0, 1, 2, 0, 1)], dim=1) * 3 / 5
    torch.testing.assert_close(model.downsample_layers[0][0].weight, expected)
    assert torch.equal(model.stages[2][0].dwconv.weight, source.stages[2][0].dwconv.weight)


def test_adapted_stems_by_hand():
    weight = torch.tensor([1.0, 2.0, 4.0]).view(1, 3, 1, 1)
    for channels, expected in {1: [7.0], 2: [1.5, 3.0], 3: [1.0, 2.0, 4.0], 4: [0.75, 1.5, 3.0, 0.75]}.items():
        assert adapt_in_channels(weight, channels).flatten().tolist() == expected


def test_grey_images_give_what_three_equal_channels_gave(source, tmp_path):
    torch.save(source.state_dict(), tmp_path / 'weights.pth')
    model = load(tmp_path / 'weights.pth', OTHER_ARCH, in_channels=1, adapt_in_channels=True, out_norm=False).eval()
    grey = torch.randn(2, 1, 64, 64)
    for actual, expected in zip(model(grey), source(grey.expand(-1, 3, -1, -1)), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-4)


def test_under_a_detector(source, tmp_path):
    """MMEngine initialises children: the backbone loads, and nothing overwrites it afterwards."""
    torch.save(foreign_state_dict('timm', source), tmp_path / 'weights.pth')
    init_cfg = dict(type='mmcnv2.PretrainedConvNeXtV2', checkpoint=str(tmp_path / 'weights.pth'))
    model = MODELS.build(
        dict(type='mmcnv2.FCMAE', backbone=dict(type='mmcnv2.ConvNeXtV2', arch=OTHER_ARCH, init_cfg=init_cfg))
    )
    model.init_weights()
    assert isinstance(model.backbone, ConvNeXtV2)
    for key, value in source.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[key], value)


def test_the_first_version(tmp_path, log):
    """By the name of its own initialiser; the other network is refused with the name of the right one."""
    source = build_backbone(OTHER_ARCH, type='mmcnv2.ConvNeXt', out_norm=False).eval()
    path = tmp_path / 'weights.pth'
    torch.save(source.state_dict() | {'norm.weight': torch.ones(10), 'norm.bias': torch.zeros(10)}, path)
    init_cfg = dict(type='mmcnv2.PretrainedConvNeXt', checkpoint=str(path))
    model = MODELS.build(dict(type='mmcnv2.ConvNeXt', arch=OTHER_ARCH, out_norm=False, init_cfg=init_cfg))
    model.init_weights()
    assert_same_features(model, source)
    assert any('(official)' in line for line in log)
    with pytest.raises(
        ValueError, match=r"is of a ConvNeXt: take it with type='mmcnv2\.ConvNeXt', not with ConvNeXtV2"
    ):
        load(path, OTHER_ARCH, out_norm=False)
    torch.save(build_backbone(OTHER_ARCH).state_dict(), path)
    with pytest.raises(ValueError, match=r"is of a ConvNeXtV2: take it with type='mmcnv2\.ConvNeXtV2'"):
        MODELS.build(dict(type='mmcnv2.ConvNeXt', arch=OTHER_ARCH, init_cfg=init_cfg)).init_weights()
