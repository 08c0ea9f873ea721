# The recipe of huge with AdamW's state and the gradients sharded over the GPUs by DeepSpeed
# (docs/how_to/distributed.md).
_base_ = 'fcmae_convnextv2-huge_64xb64-zero1-amp-coslr-1600e_in1k.py'

strategy = dict(zero_optimization=dict(stage=2))
