"""The snippets of README.md make a model of stock configs that trains and predicts."""

import re

import pytest
import torch
from helpers.configs import ROOT
from mmdet.testing import demo_mm_inputs
from mmengine import registry
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmengine.structures import PixelData

CHANNELS = [8, 16, 24, 32]
SNIPPETS = {
    library: snippet
    for snippet in re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL)
    for library in re.findall(r"_base_ = '(\w+)::", snippet)
}


def _stages(cfg):
    """The settings of training of the second stages."""
    stages = cfg.model.train_cfg.get('rcnn', [])
    return stages if isinstance(stages, list) else [stages]


def small_model(path, library, base, channels):
    """The model of the snippet on this stock config, with a narrow backbone that starts from random weights."""
    text = re.sub(r'_base_ = .*', f'_base_ = {base!r}', SNIPPETS[library])
    text = text.replace("arch='base'", f'arch=dict(depths=(1, 1, 1, 1), channels={CHANNELS})')
    text = re.sub(r' *init_cfg=.*\n', '', text)
    assert '[128, 256, 512, 1024]' in text
    text = text.replace('[128, 256, 512, 1024]', str(channels)).replace(
        'in_channels=512', f'in_channels={CHANNELS[2]}'
    )
    if 'segformer' in base:
        text = re.sub(r' *auxiliary_head=.*\n', '', text)  # 'where the config has one'
    (path / 'transfer.py').write_text(text)
    cfg = Config.fromfile(path / 'transfer.py', format_python_code=False)
    for stage in _stages(cfg):
        stage.sampler.num = 16  # for the time it takes
    if 'rpn' in (cfg.model.get('test_cfg') or {}):
        cfg.model.test_cfg.rpn.max_per_img = 10
    with DefaultScope.overwrite_default_scope(library):
        return revert_sync_batchnorm(registry.MODELS.build(cfg.model))


@pytest.mark.parametrize(
    'base',
    [
        'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        'faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        'cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py',
        'retinanet/retinanet_r50_fpn_1x_coco.py',
    ],
)
def test_mmdet(base, tmp_path):
    model = small_model(tmp_path, 'mmdet', f'mmdet::{base}', CHANNELS)
    torch.manual_seed(0)
    data = demo_mm_inputs(1, [[3, 75, 90]], num_classes=80, with_mask='mask' in base)
    with DefaultScope.overwrite_default_scope('mmdet'):
        losses = model(**model.data_preprocessor(data, training=True), mode='loss')
        loss, _ = model.parse_losses(losses)
        loss.backward()
        assert loss.isfinite() and model.backbone.downsample_layers[0][0].weight.grad.abs().sum() > 0
        model.eval()
        with torch.no_grad():
            (result,) = model.test_step(demo_mm_inputs(1, [[3, 75, 90]], num_classes=80, with_mask='mask' in base))
    assert result.batch_input_shape == (96, 96) and 'pred_instances' in result


@pytest.mark.parametrize(
    ('base', 'channels'),
    [
        ('upernet/upernet_r50_4xb4-80k_ade20k-512x512.py', CHANNELS),
        ('segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py', CHANNELS),
        ('fcn/fcn_r50-d8_4xb4-80k_ade20k-512x512.py', CHANNELS[3]),
        ('pspnet/pspnet_r50-d8_4xb4-80k_ade20k-512x512.py', CHANNELS[3]),
    ],
)
def test_mmseg(base, channels, tmp_path):
    from mmseg.structures import SegDataSample

    model = small_model(tmp_path, 'mmseg', f'mmseg::{base}', channels)
    model.data_preprocessor.size = (64, 64)
    torch.manual_seed(0)

    def data(height, width):
        sample = SegDataSample(metainfo=dict(img_shape=(height, width), ori_shape=(height, width)))
        sample.gt_sem_seg = PixelData(data=torch.randint(150, (1, height, width)))
        return dict(inputs=[torch.randint(256, (3, height, width))] * 2, data_samples=[sample.clone(), sample.clone()])

    with DefaultScope.overwrite_default_scope('mmseg'):
        losses = model(**model.data_preprocessor(data(60, 64), training=True), mode='loss')
        loss, _ = model.parse_losses(losses)
        loss.backward()
        assert loss.isfinite() and model.backbone.downsample_layers[0][0].weight.grad.abs().sum() > 0
        model.eval()
        with torch.no_grad():
            results = model.test_step(data(50, 70))  # padded to 64x96, and back
    assert [result.pred_sem_seg.data.shape for result in results] == [(1, 50, 70)] * 2
