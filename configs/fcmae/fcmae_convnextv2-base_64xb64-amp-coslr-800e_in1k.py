# FCMAE pre-training of ConvNeXt V2 base, 800 epochs. Paper: 84.6 % top-1 on ImageNet-1k after fine-tuning (table 4).
# 800 epochs * 312 iterations = 249600 iterations.
_base_ = 'fcmae_convnextv2-base_64xb64-amp-coslr-1600e_in1k.py'

max_epochs = 800
train_cfg = dict(max_epochs=max_epochs)
