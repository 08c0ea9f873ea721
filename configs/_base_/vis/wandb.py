# docs/how_to/track.md. The local backend stays: curves.png and `mmcnv2 report` read what it writes.
vis_backends = [
    dict(type='LocalVisBackend'),
    # W&B's own step counts what is logged. Over `iter`, validations and images stand where the training was.
    dict(type='mmcnv2.WandbVisBackend', define_metric_cfg=[dict(name='*', step_metric='iter')]),
]
