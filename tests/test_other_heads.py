"""Other heads of mmdet on our backbone: each learns a batch, with the rates of layer-wise decay, and predicts."""

import numpy as np
import pytest
import torch
from helpers.configs import ROOT, load
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine import registry
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData, PixelData

CHANNELS = (16, 32, 64, 128)
SIZE = (64, 96)
CHECKS = {
    'Faster R-CNN': 'faster-rcnn_convnextv2-atto_fpn-small_overfit-8-images_coco',
    'Cascade Mask R-CNN': 'cascade-mask-rcnn_convnextv2-atto_fpn-small_overfit-8-images_coco',
    'RetinaNet': 'retinanet_convnextv2-atto_fpn-small_overfit-8-images_coco',
    'RTMDet': 'rtmdet_convnextv2-atto-small_overfit-8-images_coco',
    'RTMDet-Ins': 'rtmdet-ins_convnextv2-atto-small_overfit-8-images_coco',
    'DINO': 'dino-4scale_convnextv2-atto-small_overfit-8-images_coco',
    'Mask2Former': 'mask2former_convnextv2-atto-small_overfit-8-images_coco',
    'Mask2Former, panoptic': 'mask2former_convnextv2-atto-small_overfit-8-images_coco-panoptic',
}
NO_DECAY = {'DINO': ['query_embedding', 'level_embed'], 'Mask2Former': ['query_embed', 'query_feat', 'level_embed']}

# RTMDet's labels are soft: they grow with the IoU of the boxes, and so does the loss of the first iterations.
ITERATIONS = {'RTMDet': 32, 'RTMDet-Ins': 32}


def small_model(method, **backbone):
    """The model of the check, with a narrower backbone."""
    cfg = load(ROOT / f'configs/checks/{CHECKS[method]}.py')
    arch = dict(depths=(1, 1, 1, 1), channels=CHANNELS)
    cfg.model.backbone.update(arch=arch, **backbone)
    channels = [CHANNELS[i] for i in cfg.model.backbone.get('out_indices', range(4))]
    (cfg.model.get('neck') or cfg.model.panoptic_head).update(in_channels=channels)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = revert_sync_batchnorm(registry.MODELS.build(cfg.model))
    model.init_weights()
    return model


def batch(method):
    """Two grey images with a red and a blue square, of classes 3 and 5, on a floor of class 90."""
    inputs, samples = [], []
    for left in (8, 40):
        image = torch.full((3, *SIZE), 114, dtype=torch.uint8)
        masks = np.zeros((2, *SIZE), np.uint8)
        boxes = torch.tensor([[left, 8, left + 24, 32], [left + 16, 36, left + 48, 60]], dtype=torch.float32)
        for channel, mask, (x0, y0, x1, y1) in zip((0, 2), masks, boxes.int().tolist(), strict=True):
            image[channel, y0:y1, x0:x1] = 255
            mask[y0:y1, x0:x1] = 1
        sample = DetDataSample(
            metainfo=dict(img_shape=SIZE, ori_shape=SIZE, scale_factor=(1.0, 1.0), batch_input_shape=SIZE)
        )
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([3, 5]))
        if method in ('Cascade Mask R-CNN', 'RTMDet-Ins', 'Mask2Former', 'Mask2Former, panoptic'):
            sample.gt_instances.masks = BitmapMasks(masks, *SIZE)
        if method == 'Mask2Former, panoptic':
            labels = np.full(SIZE, 90)
            for label, mask in zip((3, 5), masks, strict=True):
                labels[mask > 0] = label
            sample.gt_sem_seg = PixelData(sem_seg=torch.from_numpy(labels)[None])
        inputs.append(image)
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def loss_of(model, method):
    losses = model(**model.data_preprocessor(batch(method), training=True), mode='loss')
    return model.parse_losses(losses)[0]


@pytest.mark.parametrize('method', CHECKS)
def test_learns_a_batch_and_predicts(method):
    model = small_model(method)
    no_decay = NO_DECAY.get(method.split(',')[0])
    wrapper = build_optim_wrapper(
        model,
        dict(
            optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
            constructor='mmcnv2.LayerDecayOptimWrapperConstructor',
            paramwise_cfg=dict(decay_rate=0.9, decay_type='single') | (dict(no_decay=no_decay) if no_decay else {}),
        ),
    )
    # Four blocks are layers 1 to 4, all else layer 5: 0.9 to the power of 4, 3, 2, 1 and 0.
    rates = {group['layer_id']: group['lr'] for group in wrapper.optimizer.param_groups}
    assert rates == pytest.approx({1: 6.561e-4, 2: 7.29e-4, 3: 8.1e-4, 4: 9e-4, 5: 1e-3})

    losses = []
    with DefaultScope.overwrite_default_scope('mmdet'):
        for _ in range(ITERATIONS.get(method, 8)):
            loss = loss_of(model, method)
            wrapper.optimizer.zero_grad()
            loss.backward()
            wrapper.optimizer.step()
            losses.append(loss.item())
        # Every trained parameter of the backbone has a gradient: DDP need not look for those without.
        assert all(parameter.grad is not None for parameter in model.backbone.parameters())
        assert model.backbone.downsample_layers[0][0].weight.grad.abs().sum() > 0
        assert np.isfinite(losses).all() and np.mean(losses[-2:]) < 0.9 * losses[0], losses
        model.eval()
        with torch.no_grad():
            results = model.test_step(batch(method))
    for result in results:
        if method == 'Mask2Former, panoptic':
            assert result.pred_panoptic_seg.sem_seg.shape == (1, *SIZE)
        else:
            boxes = result.pred_instances.bboxes
            assert boxes.shape[1] == 4 and boxes.isfinite().all()


@pytest.mark.parametrize('method', ['RTMDet-Ins', 'DINO', 'Mask2Former'])
def test_frozen_backbone(method):
    """Nothing of it gets a gradient, and the heads do."""
    model = small_model(method, frozen_stages=4).train()
    with DefaultScope.overwrite_default_scope('mmdet'):
        loss_of(model, method).backward()
    with_gradient = {name.split('.')[0] for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient and 'backbone' not in with_gradient
