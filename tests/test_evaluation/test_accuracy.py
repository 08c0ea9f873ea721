"""Accuracy by class, by hand; bootstrap intervals against the distribution that they approximate."""

import numpy as np
import pytest
from scipy.stats import binom

from mmcnv2.evaluation.accuracy import bootstrap_interval, mean_class_accuracy


def test_a_common_class_weighs_no_more():
    """Three of four of class 0, none of one of class 3; classes 1 and 2 have no samples."""
    assert mean_class_accuracy(np.array([True, True, False, True, False]), np.array([0, 0, 0, 0, 3])) == 0.75 / 2


@pytest.mark.parametrize(('n', 'right'), [(400, 280), (50, 48)])
def test_against_the_binomial_distribution(n, right):
    """The mean of n draws with replacement is binomial with the share that was right."""
    correct = np.arange(n) < right
    expected = np.array(binom.interval(0.95, n, right / n)) / n
    interval = bootstrap_interval(correct, np.arange(n), resamples=20_000)
    assert interval == pytest.approx(tuple(expected), abs=1.01 / n)  # it has steps of 1 / n


def test_objects_of_an_image_are_no_further_evidence():
    correct = np.arange(100) < 60
    alone = bootstrap_interval(correct, np.arange(100))
    assert bootstrap_interval(np.repeat(correct, 5), np.repeat(np.arange(100), 5)) == pytest.approx(alone)
    low, high = bootstrap_interval(np.repeat(correct, 5), np.arange(500))
    assert high - low < 0.6 * (alone[1] - alone[0])  # 1 / sqrt(5) = 0.45


def test_images_with_more_objects_weigh_more():
    """Two images, one with three right and one with one wrong: both, or twice the same, are drawn."""
    interval = bootstrap_interval(np.array([1, 1, 1, 0]), np.array(['a', 'a', 'a', 'b']))
    assert interval == (0, 1)
    assert bootstrap_interval(np.array([1, 1, 1, 0]), np.array(['a', 'a', 'a', 'b']), level=0.4) == (0.75, 0.75)
