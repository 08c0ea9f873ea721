# Dense linear probe of a backbone on nuclei: only a 1x1 convolution is trained. Give it a backbone, as in
# upernet_convnextv2-atto_nuclei.py; without one it is the probe of random weights.
_base_ = [
    '../_base_/models/dense-linear_convnextv2.py',
    '../_base_/datasets/nuclei_semantic.py',
    '../_base_/schedules/toy_finetune.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=(128, 128), mean=[45.0] * 3, std=[70.0] * 3),  # as in the pre-training
    backbone=dict(arch='atto'),
    decode_head=dict(in_channels=[40, 80, 160, 320], channels=600, num_classes=2),
)
optim_wrapper = dict(optimizer=dict(weight_decay=0.0))

default_hooks = dict(
    logger=dict(interval=10),
    checkpoint=dict(by_epoch=False, interval={{_base_.max_iters}}),
)
