"""A stopped run continues exactly: the same samples, the same random numbers, the same weights, bit for bit.

``loops.py`` has the training loops, ``sampler.py`` and ``dataset.py`` what they wrap around the data, ``seeding.py``
seeds each iteration and sample, ``checkpoints.py`` finds the file to continue from, ``hooks.py`` makes up for what
another batch size or an interrupted validation would change, and seeds evaluations.
"""

from .checkpoints import newest_of, newest_whole_checkpoint
from .dataset import SeededDataset
from .hooks import EvaluationSeedHook
from .loops import EpochBasedTrainLoop, IterBasedTrainLoop
from .sampler import SeededSampler

__all__ = [
    'EpochBasedTrainLoop',
    'EvaluationSeedHook',
    'IterBasedTrainLoop',
    'SeededDataset',
    'SeededSampler',
    'newest_of',
    'newest_whole_checkpoint',
]
