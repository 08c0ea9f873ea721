# UperNet at 640x640 from FCMAE weights that were fine-tuned on the labels of ImageNet-22k, base. The paper has no
# figure for it, only for huge.
_base_ = [
    '../_base_/models/upernet_convnextv2.py',
    '../_base_/datasets/ade20k_640x640.py',
    '../_base_/schedules/upernet_adamw_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(
        drop_path_rate=0.4,  # as at 512x512
        init_cfg=dict(
            type='Pretrained',
            # 90 epochs with a batch of 4096 = 64 GPUs x 64 (paper, table 12). Not fine-tuned on ImageNet-1k after it
            # (table 7).
            checkpoint='work_dirs/convnextv2-base-fcmae_64xb64-amp-coslr-90e_in22k/epoch_90.pth',
            prefix='backbone.',
        ),
    ),
)

env_cfg = dict(cudnn_benchmark=True)  # all training images have one size
default_hooks = dict(checkpoint=dict(by_epoch=False, interval={{_base_.val_interval}}))
