# docs/how_to/track.md. The local backend stays: curves.png and `mmcnv2 report` read what it writes.
vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
