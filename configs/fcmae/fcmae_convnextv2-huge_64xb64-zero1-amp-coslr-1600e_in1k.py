# The recipe of huge with AdamW's state sharded over the GPUs by DeepSpeed (docs/how_to/distributed.md).
_base_ = 'fcmae_convnextv2-huge_64xb64-amp-coslr-1600e_in1k.py'

runner_type = 'FlexibleRunner'
strategy = dict(
    type='DeepSpeedStrategy',
    zero_optimization=dict(stage=1),
    # As AmpOptimWrapper: weights in fp32, autocast. (With `bf16` the targets of the loss would be rounded, too.)
    config=dict(torch_autocast=dict(enabled=True, dtype='bfloat16')),
)
optim_wrapper = dict(
    _delete_=True,
    type='DeepSpeedOptimWrapper',
    optimizer=_base_.optim_wrapper.optimizer,
    paramwise_cfg=_base_.optim_wrapper.paramwise_cfg,
)
