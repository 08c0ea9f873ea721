"""The heads of mmseg in the recipes: they learn, the backbone learns with them or is frozen, and layer-wise decay."""

import pytest
import torch
from helpers.configs import ROOT, load
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData

CHANNELS = [8, 12, 16, 24]
# Settings that name channels of the maps, and what makes the head small.
NARROW = {
    'segformer': {'decode_head.in_channels': CHANNELS, 'decode_head.channels': 16},
    'sem-fpn': {
        'neck.in_channels': CHANNELS,
        'neck.out_channels': 16,
        'decode_head.in_channels': [16] * 4,
        'decode_head.channels': 16,
    },
    'fcn': {'decode_head.in_channels': CHANNELS, 'decode_head.channels': 16},
    'deeplabv3plus': {
        'decode_head.in_channels': CHANNELS[3],
        'decode_head.c1_in_channels': CHANNELS[0],
        'decode_head.channels': 16,
        'auxiliary_head.in_channels': CHANNELS[2],
        'auxiliary_head.channels': 16,
    },
    'mask2former-semantic': {
        'decode_head.in_channels': CHANNELS,
        'decode_head.num_queries': 10,
        'decode_head.pixel_decoder.encoder.num_layers': 1,
        'decode_head.transformer_decoder.num_layers': 1,
        'decode_head.train_cfg.num_points': 256,
    },
}
each_head = pytest.mark.parametrize('head', NARROW)


def recipe(head, backbone):
    (path,) = (ROOT / f'configs/{head.replace("-", "_")}').glob(f'*_{backbone}_*.py')
    return load(path)


def small_model(head, backbone):
    """The model of a recipe on a narrow backbone of random weights, for crops of 64 pixels."""
    cfg = recipe(head, backbone)
    arch = dict(_delete_=True, depths=(1, 1, 1, 1), channels=CHANNELS)
    options = {'backbone.arch': arch, 'backbone.init_cfg': None, 'backbone.drop_path_rate': 0.0} | NARROW[head]
    cfg.merge_from_dict({f'model.{key}': value for key, value in options.items()})
    cfg.model.data_preprocessor.size = (64, 64)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = revert_sync_batchnorm(MODELS.build(cfg.model))
        model.init_weights()
    return model


def squares(height, width):
    """A batch of two images of black and white squares of 16 pixels; the label is the colour."""
    from mmseg.structures import SegDataSample

    torch.manual_seed(1)
    cells = torch.randint(2, (2, 1, height // 16 + 1, width // 16 + 1))
    labels = cells.repeat_interleave(16, 2).repeat_interleave(16, 3)[..., :height, :width]
    samples = []
    for label in labels:
        sample = SegDataSample(metainfo=dict(img_shape=(height, width), ori_shape=(height, width)))
        sample.gt_sem_seg = PixelData(data=label)
        samples.append(sample)
    return dict(inputs=[255 * label.expand(3, -1, -1) for label in labels], data_samples=samples)


@each_head
def test_head_and_backbone_learn(head):
    model = small_model(head, 'convnextv2-base-fcmae').train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    with DefaultScope.overwrite_default_scope('mmseg'):
        data = model.data_preprocessor(squares(64, 64), training=True)
        for _ in range(40):
            optimizer.zero_grad()
            loss, _ = model.parse_losses(model(**data, mode='loss'))
            loss.backward()
            optimizer.step()
        # DDP would wait for a parameter without one.
        assert not [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
        assert model.backbone.downsample_layers[0][0].weight.grad.abs().sum() > 0
        model.eval()
        test = squares(60, 70)  # padded to 64x96, and back
        with torch.no_grad():
            results = model.test_step(test)
    right = [
        (result.pred_sem_seg.data == sample.gt_sem_seg.data).float().mean()
        for result, sample in zip(results, test['data_samples'], strict=True)
    ]
    assert all(result.pred_sem_seg.data.shape == (1, 60, 70) for result in results)
    assert min(right) > 0.8  # by chance a half


@each_head
def test_frozen_backbone(head):
    model = small_model(head, 'convnext-base-dinov3-frozen').train()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    with DefaultScope.overwrite_default_scope('mmseg'):
        data = model.data_preprocessor(squares(64, 64), training=True)
        loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    assert all(p.grad is None and not p.requires_grad for p in model.backbone.parameters())
    assert not any(module.training for module in model.backbone.modules() if not list(module.children()))
    trained = [p for p in model.parameters() if p.requires_grad]
    assert trained and all(p.grad is not None for p in trained)
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())


# The learning rate of the stem and of the first and last block of the stages, over that of the head. Base has 3, 3, 27
# and 3 blocks, three of them a layer: 1 + 1 + 9 + 1 = 12 layers after the stem. Tiny has 3 + 3 + 9 + 3 = 18, a block
# each, and its stem counts with the first.
SCALES = {
    'convnextv2-base-fcmae': {
        'downsample_layers.0.0.weight': 0.9**13,
        'stages.0.2.pwconv1.weight': 0.9**12,
        'stages.2.26.pwconv1.weight': 0.9**2,
        'stages.3.2.dwconv.bias': 0.9,
        'norm3.weight': 1,
    },
    'convnextv2-tiny-fcmae': {
        'downsample_layers.0.0.weight': 0.9**18,
        'stages.0.2.pwconv1.weight': 0.9**16,
        'stages.2.8.pwconv1.weight': 0.9**4,
        'stages.3.2.dwconv.bias': 0.9,
        'norm3.weight': 1,
    },
}


@each_head
@pytest.mark.parametrize('backbone', [*SCALES, 'convnext-base-dinov3-frozen'])
def test_layer_wise_decay(head, backbone):
    cfg = recipe(head, backbone)
    with torch.device('meta'), DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    kept = {key: cfg.optim_wrapper[key] for key in ('optimizer', 'constructor', 'paramwise_cfg')}
    groups = build_optim_wrapper(model, kept).optimizer.param_groups
    of = {id(parameter): group for group in groups for parameter in group['params']}
    names = dict(model.named_parameters())
    for name, scale in SCALES.get(backbone, {}).items():
        assert of[id(names[f'backbone.{name}'])]['lr'] == pytest.approx(1e-4 * scale), name
        assert of[id(names[f'backbone.{name}'])]['weight_decay'] == (0.05 if names[f'backbone.{name}'].ndim > 1 else 0)
    heads = {name: parameter for name, parameter in names.items() if not name.startswith('backbone.')}
    assert {of[id(parameter)]['lr'] for parameter in heads.values()} == {1e-4}
    embeddings = {name for name in heads if name.split('.')[-2] in ('query_embed', 'query_feat', 'level_embed')}
    assert len(embeddings) == (3 if head == 'mask2former-semantic' else 0)
    for name, parameter in heads.items():
        decays = parameter.ndim > 1 and name not in embeddings
        assert of[id(parameter)]['weight_decay'] == (0.05 if decays else 0), name
    if 'frozen' in backbone:
        assert of.keys() == {id(parameter) for parameter in heads.values()}
