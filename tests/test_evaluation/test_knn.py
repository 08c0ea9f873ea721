"""kNN against votes worked out by hand and against DINO's formula in float64."""

import numpy as np
import pytest
import torch

from mmcnv2.evaluation import knn
from mmcnv2.evaluation.knn import knn_predict
from mmcnv2.utils.errors import InputError

ROOT_3 = 3**0.5
# Unit vectors at 30, 60, -60 and 180 degrees, of several lengths: their cosines with (1, 0) are 0.866, 0.5, 0.5, -1.
TRAIN = torch.tensor([[ROOT_3, 1.0], [0.5, ROOT_3 / 2], [5.0, -5 * ROOT_3], [-0.1, 0.0]])
LABELS = torch.tensor([0, 1, 1, 2])
VAL = torch.tensor([[7.0, 0.0]])


@pytest.mark.parametrize(
    ('temperature', 'k', 'ranking'),
    [
        (0.5, 1, [0, 1, 2]),
        (0.5, 3, [0, 1, 2]),  # votes: exp(1.732) = 5.65 against 2 exp(1) = 5.44
        (1.0, 3, [1, 0, 2]),  # votes: exp(0.866) = 2.38 against 2 exp(0.5) = 3.30
        (1.0, 4, [1, 0, 2]),  # and exp(-1) = 0.37 for the third class
    ],
)
def test_votes_by_hand(temperature, k, ranking):
    guesses = knn_predict(TRAIN, LABELS, VAL, [k], temperature, num_guesses=3)
    assert guesses[k].tolist() == [ranking]


def test_equal_votes_go_to_the_first_class():
    train = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    for labels in ([0, 1], [1, 0]):
        assert knn_predict(train, torch.tensor(labels), VAL, [2])[2].tolist() == [[0]]


@pytest.mark.parametrize('similarities_at_a_time', [1, 64, 2**24])
def test_against_the_formula_of_dino(monkeypatch, similarities_at_a_time):
    monkeypatch.setattr(knn, '_SIMILARITIES', similarities_at_a_time)
    rng = np.random.default_rng(0)
    train, val = rng.normal(size=(60, 5)), rng.normal(size=(40, 5))
    labels = rng.integers(0, 7, 60)
    unit_train, unit_val = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (train, val))
    similarities = unit_val @ unit_train.T
    guesses = knn_predict(*map(torch.tensor, (train, labels, val)), ks=[1, 10, 60], num_guesses=5)
    for k in (1, 10, 60):
        for i, row in enumerate(similarities):
            votes = np.zeros(7)
            for j in np.argsort(-row)[:k]:
                votes[labels[j]] += np.exp(row[j] / 0.07)
            order = np.argsort(-votes, kind='stable')[:5]
            assert guesses[k][i].tolist() == order.tolist()


@pytest.mark.parametrize('k', [0, 5])
def test_k_that_the_training_samples_do_not_have(k):
    with pytest.raises(InputError, match=f'from 1 to the number of training samples, 4, got {k}'):
        knn_predict(TRAIN, LABELS, VAL, [k])
