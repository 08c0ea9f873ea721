"""Accuracy by class, and how sure an accuracy is."""

import numpy as np


def mean_class_accuracy(correct: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean over the classes of the share of their samples that is right: a common class weighs no more.

    Args:
        correct: (n,) bool.
        labels: (n,) int, from 0; a class without samples does not count.

    Returns:
        In [0, 1]; always answering the same class gives 1 / number of classes.
    """
    sizes = np.bincount(labels)
    right = np.bincount(labels, weights=correct.astype(np.float64))
    return float((right[sizes > 0] / sizes[sizes > 0]).mean())


def bootstrap_interval(
    correct: np.ndarray, groups: np.ndarray, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile interval of a mean accuracy, by drawing images again with replacement.

    All samples of an image are drawn together, since objects of the same image are alike (Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993, chapters 8 and 13).

    Args:
        correct: (n,) bool, or the share of runs that were right, in [0, 1].
        groups: (n,) the image of each sample.
        level: Share of the resampled accuracies inside the interval.
        resamples: How often.
        seed: Of the draws.

    Returns:
        Lower and upper end, in [0, 1].
    """
    _, index = np.unique(groups, return_inverse=True)
    sums = np.bincount(index, weights=correct.astype(np.float64))
    sizes = np.bincount(index)
    rng = np.random.default_rng(seed)
    accuracies = []
    for _ in range(resamples):
        drawn = rng.integers(len(sums), size=len(sums))
        accuracies.append(sums[drawn].sum() / sizes[drawn].sum())
    low, high = np.quantile(accuracies, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
