"""The pre-training schedule decays weights, and nothing but weights."""

from pathlib import Path

from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope

SCHEDULE = Path(__file__).parents[3] / 'configs/_base_/schedules/fcmae_adamw_coslr.py'


def test_weight_decay_of_fcmae():
    cfg = Config.fromfile(SCHEDULE).optim_wrapper
    cfg.type = 'OptimWrapper'  # AMP needs a GPU and has no part in this
    cfg.pop('dtype'), cfg.pop('loss_scale')
    backbone = dict(type='ConvNeXtV2', arch='atto')
    with DefaultScope.overwrite_default_scope('mmcnv2'):
        model = MODELS.build(dict(type='mmcnv2.FCMAE', backbone=backbone, decoder_embed_dims=32))
        wrapper = build_optim_wrapper(model, cfg)
    names = {id(param): name for name, param in model.named_parameters()}
    decay = {names[id(group['params'][0])]: group['weight_decay'] for group in wrapper.optimizer.param_groups}
    assert decay.keys() == dict(model.named_parameters()).keys()
    assert {group['lr'] for group in wrapper.optimizer.param_groups} == {2.4e-3}

    spared = {name for name, value in decay.items() if value == 0.0}
    decayed = {name for name, value in decay.items() if value == 0.05}
    assert spared | decayed == decay.keys()
    # The norms of the stem and of the downsampling layers have no name of their own.
    norms = {'downsample_layers.0.1', 'downsample_layers.1.0', 'downsample_layers.2.0', 'downsample_layers.3.0'}
    norms = {f'backbone.{name}.weight' for name in norms}
    flat = ('.bias', '.gamma', '.beta', 'norm.weight', 'mask_token')
    assert spared == norms | {name for name in decay if name.endswith(flat)}
    # Convolutions of stem and downsampling, dwconv, pwconv1, pwconv2 of 12 + 1 blocks, proj, pred.
    assert len(decayed) == 4 + 13 * 3 + 2
    assert {'backbone.stages.0.0.dwconv.weight', 'decoder.0.pwconv1.weight', 'proj.weight', 'pred.weight'} <= decayed
