# From scratch; from a pre-trained backbone with
# --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.prefix=backbone. \
#     model.backbone.init_cfg.checkpoint=work_dirs/fcmae_convnextv2-atto_nuclei/epoch_150.pth
_base_ = [
    '../_base_/models/mask-rcnn_convnextv2-atto_fpn-small.py',
    '../_base_/datasets/nuclei_instance.py',
    '../_base_/schedules/toy_finetune.py',
    '../_base_/detection_runtime.py',
]

# Half of the nuclei measure 17 pixels or less, anchors on the map of stride 4 start at 16; an image has up to 375.
model = dict(
    data_preprocessor=dict(mean=[45.0] * 3, std=[70.0] * 3),  # as in the pre-training
    roi_head=dict(bbox_head=dict(num_classes=1), mask_head=dict(num_classes=1)),
    test_cfg=dict(rpn=dict(nms_pre=1000, max_per_img=300), rcnn=dict(max_per_img=300)),
)

optim_wrapper = dict(optimizer=dict(lr=7e-4))
auto_scale_lr = dict(base_batch_size=2)

default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(by_epoch=False, interval={{_base_.max_iters}}),
)
log_processor = dict(by_epoch=False)
