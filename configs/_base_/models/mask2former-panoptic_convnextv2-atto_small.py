# Mask2Former for things and stuff, for two CPU cores: sizes as in mask2former_convnextv2-atto_small.py.
_base_ = 'mask2former-panoptic_convnextv2.py'

width = 64
positional_encoding = dict(num_feats=width // 2)
attention = dict(embed_dims=width)
ffn_cfg = dict(embed_dims=width, feedforward_channels=256)
model = dict(
    # Images of the checks are padded in the pipeline.
    data_preprocessor=dict(batch_augments=None),
    backbone=dict(arch='atto'),
    panoptic_head=dict(
        in_channels=[40, 80, 160, 320],
        feat_channels=width,
        out_channels=width,
        num_queries=50,
        pixel_decoder=dict(
            norm_cfg=dict(num_groups=8),
            encoder=dict(num_layers=2, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn_cfg)),
            positional_encoding=positional_encoding,
        ),
        positional_encoding=positional_encoding,
        transformer_decoder=dict(
            num_layers=3,
            layer_cfg=dict(self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=ffn_cfg),
        ),
    ),
    # Points at which masks are compared: images have a quarter of the pixels.
    train_cfg=dict(num_points=12544 // 4),
)
