# Mask2Former, narrow and shallow: can it learn eight images by heart? See the check of UperNet.
_base_ = [
    '../_base_/models/mask2former-semantic_convnextv2.py',
    '../_base_/datasets/coco-semantic_overfit-8-images.py',
    '../_base_/schedules/overfit-8-images_semantic.py',
]

width = 64
attention = dict(embed_dims=width, num_heads=4)
model = dict(
    data_preprocessor=dict(size={{_base_.crop_size}}),
    backbone=dict(arch='atto'),
    decode_head=dict(
        in_channels=[40, 80, 160, 320],
        feat_channels=width,
        out_channels=width,
        num_classes={{_base_.num_classes}},
        num_queries=40,  # these images have up to 7 classes
        pixel_decoder=dict(
            encoder=dict(
                num_layers=2,
                layer_cfg=dict(
                    self_attn_cfg=attention,
                    ffn_cfg=dict(embed_dims=width, feedforward_channels=2 * width),
                ),
            ),
            positional_encoding=dict(num_feats=width // 2),
        ),
        positional_encoding=dict(num_feats=width // 2),
        transformer_decoder=dict(
            num_layers=3,
            layer_cfg=dict(
                self_attn_cfg=attention,
                cross_attn_cfg=attention,
                ffn_cfg=dict(embed_dims=width, feedforward_channels=4 * width),
            ),
        ),
        loss_cls=dict(class_weight=[1.0] * 133 + [0.1]),
        train_cfg=dict(num_points=2048),
    ),
)
del attention

# Longer and slower than the others: queries first have to agree on who finds what.
max_iters = 640  # 160 epochs of 8 images in batches of 2
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 2)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
default_hooks = dict(checkpoint=dict(interval=max_iters // 2))
