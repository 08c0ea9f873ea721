# From scratch; from a pre-trained backbone with
# --cfg-options model.backbone.init_cfg.type=Pretrained model.backbone.init_cfg.prefix=backbone. \
#     model.backbone.init_cfg.checkpoint=work_dirs/fcmae_convnextv2-atto_nuclei/epoch_150.pth
_base_ = [
    '../_base_/models/upernet_convnextv2-atto_small.py',
    '../_base_/datasets/nuclei_semantic.py',
    '../_base_/schedules/toy_finetune.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=(128, 128), mean=[45.0] * 3, std=[70.0] * 3),  # as in the pre-training
    decode_head=dict(num_classes=2),
    auxiliary_head=dict(num_classes=2),
)

default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(by_epoch=False, interval={{_base_.max_iters}}),
)
