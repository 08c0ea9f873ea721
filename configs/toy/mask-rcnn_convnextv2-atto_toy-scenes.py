# From scratch; from a pre-trained backbone with
# --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.prefix=backbone. \
#     model.backbone.init_cfg.checkpoint=work_dirs/fcmae_convnextv2-atto_toy-scenes/epoch_14.pth
_base_ = [
    '../_base_/models/mask-rcnn_convnextv2-atto_fpn-small.py',
    '../_base_/datasets/toy_scenes_instance.py',
    '../_base_/schedules/toy_finetune.py',
    '../_base_/detection_runtime.py',
]

model = dict(roi_head=dict(bbox_head=dict(num_classes=6), mask_head=dict(num_classes=6)))

default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(by_epoch=False, interval={{_base_.max_iters}}),
)
log_processor = dict(by_epoch=False)
