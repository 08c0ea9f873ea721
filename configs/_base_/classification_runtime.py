# What classifiers have besides default_runtime.py. The head needs mmpretrain, so it is imported for them only.
_base_ = 'default_runtime.py'

custom_imports = dict(imports=['mmcnv2', 'mmcnv2.models.heads'], allow_failed_imports=False)
env_cfg = dict(cudnn_benchmark=True)  # all images have one size
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=3))
# Averaged weights with decay 0.9999 (paper, tables 9 to 11 and 13); they are evaluated and, in a checkpoint,
# 'state_dict'.
custom_hooks = [
    dict(type='mmcnv2.ThroughputHook'),
    dict(type='EMAHook', momentum=1e-4, priority='ABOVE_NORMAL'),
]
