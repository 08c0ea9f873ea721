"""The linear probe on features whose answer is known, and its training against one of torch's modules."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmcnv2.evaluation.linear import _held_out, _train, train_probe
from mmcnv2.utils.errors import InputError


def clusters(n, seed, spread=0.1, num_classes=4):
    """Features (n, 6) around a corner for each class, and labels; two features never change."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % num_classes
    features = F.one_hot(labels, 6) + spread * torch.randn(n, 6, generator=generator)
    features[:, 4:] = 3.0
    return features, labels


def accuracy(probe, features, labels):
    return (probe(features).argmax(1) == labels).float().mean().item()


def test_separable_features():
    features, labels = clusters(80, 0)
    probe = train_probe(features, labels, range(80), 4, [1e-3, 0.1, 1.0])
    assert accuracy(probe, *clusters(400, 1)) == 1
    assert max(probe.held_out.values()) == 1


def test_labels_without_a_relation_to_features():
    """0.25 with a deviation of sqrt(0.25 * 0.75 / 2000) = 0.0097."""
    features, labels = clusters(200, 0)
    shuffled = labels[torch.randperm(200, generator=torch.Generator().manual_seed(0))]
    tests, _ = clusters(2000, 1)
    targets = torch.randint(4, (2000,), generator=torch.Generator().manual_seed(1))
    probe = train_probe(features, shuffled, range(200), 4, [0.1])
    assert accuracy(probe, tests, targets) == pytest.approx(0.25, abs=4 * 0.0097)


def test_the_learning_rate_is_that_of_the_best_on_held_out_samples():
    features, labels = clusters(80, 0, spread=0.3)
    probe = train_probe(features, labels, range(80), 4, [1e-9, 0.1])
    assert probe.learning_rate == 0.1
    assert probe.held_out[0.1] > 0.9
    again = train_probe(features, labels, range(80), 4, [0.1])  # trained on all samples: the grid does not matter
    assert torch.equal(again.weight, probe.weight)


def test_all_rates_in_one_pass_are_each_alone():
    """A module of torch with its own optimizer and schedule, on the same batches."""
    features, labels = clusters(50, 0, spread=1.0)
    rates, epochs, batch = [0.01, 0.5], 3, 16
    weights, biases = _train(features, labels, 4, rates, epochs, batch, seed=7)
    for i, rate in enumerate(rates):
        layer = nn.Linear(6, 4)
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        optimizer = torch.optim.SGD(layer.parameters(), lr=rate * batch / 256, momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * 4)  # 16, 16, 16 and 2 samples
        generator = torch.Generator().manual_seed(7)
        for _ in range(epochs):
            for chosen in torch.randperm(50, generator=generator).split(batch):
                optimizer.zero_grad()
                F.cross_entropy(layer(features[chosen]), labels[chosen]).backward()
                optimizer.step()
                schedule.step()
        torch.testing.assert_close(weights[i], layer.weight.T, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(biases[i], layer.bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(('scale', 'offset'), [(100, -7), (1e-8, 0)])
def test_scale_and_offset_of_features_do_not_matter(scale, offset):
    features, labels = clusters(80, 0, spread=0.5)
    tests, _ = clusters(100, 1, spread=0.5)
    plain, scaled = (train_probe(x, labels, range(80), 4, [0.1]) for x in (features, scale * features + offset))
    torch.testing.assert_close(plain(tests), scaled(scale * tests + offset), rtol=1e-3, atol=1e-3)


def test_samples_of_an_image_are_held_out_together():
    groups = [f'{i // 5}.jpg' for i in range(100)]
    held_out = _held_out(torch.arange(100) % 2, groups, seed=0)
    assert held_out.sum() == 20
    assert {groups[i] for i in held_out.nonzero()}.isdisjoint({groups[i] for i in (~held_out).nonzero()})


def test_one_sample_a_class():
    with pytest.raises(InputError, match='3 samples of 3 images have 3 classes'):
        train_probe(torch.randn(3, 6), torch.arange(3), range(3), 3, [0.1])
