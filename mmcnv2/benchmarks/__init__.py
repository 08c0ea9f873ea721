"""What a model costs, and whether it is fast: the measurements behind the tables in docs/, one module each.

Nothing in here is needed to train. ``measure.py`` has what the benchmarks share, ``plain_fcmae.py`` is the baseline
that they compare with. The commands (``mmcnv2 get-flops``, ``benchmark-pretrain``, ...) are in ``cli/``.
"""
