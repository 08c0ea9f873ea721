"""The linear probe: one linear layer on frozen features.

As in DINOv2 (arXiv 2304.07193) a layer for each learning rate of a grid learns from the same batches, by SGD with
momentum 0.9 under a cosine schedule and without weight decay, and the best one counts. It is chosen on held-out
training samples, not on those of the report, and then trained again on all. As in MAE (arXiv 2111.06377, appendix A.1)
features are standardised, here by mean and deviation of the training samples. Weights start from zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR

from mmcnv2.utils.errors import InputError

HELD_OUT = 0.2
MOMENTUM = 0.9


@dataclass(frozen=True)
class Probe:
    """A trained linear layer.

    Attributes:
        weight: (D, C).
        bias: (C,).
        mean: (D,) what is subtracted from features.
        std: (D,) by what they are then divided.
        learning_rate: With which it was trained.
        held_out: Accuracy on held-out training samples for each learning rate.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    std: Tensor
    learning_rate: float
    held_out: dict[float, float]

    def __call__(self, features: Tensor) -> Tensor:
        """Return logits (n, C) of features (n, D)."""
        return (features - self.mean) / self.std @ self.weight + self.bias


def train_probe(
    features: Tensor,
    labels: Tensor,
    groups: Sequence | np.ndarray,
    num_classes: int,
    learning_rates: Sequence[float],
    epochs: int = 100,
    batch_size: int = 256,
    seed: int = 0,
) -> Probe:
    """Train a linear layer for each learning rate at once, and return the best one, trained again on all samples.

    Held-out samples of classes that have none among the others do not count. Of equally accurate layers the one with
    the lower cross-entropy is the best.

    Args:
        features: (n, D) float32.
        labels: (n,) int64, below ``num_classes``.
        groups: n values, equal for samples of the same image, which are held out together.
        num_classes: C.
        learning_rates: The grid; for batches of 256. They are scaled by the size of the batch / 256.
        epochs: Passes over the samples.
        batch_size: Samples of a step, at most n.
        seed: Of what is held out, and of the order.

    Raises:
        InputError: If nothing can be held out: no class has samples of two images.
    """
    held_out = _held_out(labels, groups, seed)
    mean, std = _statistics(features[~held_out])
    weights, biases = _train(
        (features[~held_out] - mean) / std, labels[~held_out], num_classes, learning_rates, epochs, batch_size, seed
    )
    known = held_out & torch.isin(labels, labels[~held_out])
    logits = torch.einsum('nd,ldc->lnc', (features[known] - mean) / std, weights) + biases[:, None]
    accuracies = (logits.argmax(2) == labels[known]).float().mean(1).tolist()
    losses = [F.cross_entropy(one, labels[known]).item() for one in logits]
    best = max(range(len(learning_rates)), key=lambda i: (accuracies[i], -losses[i]))
    rate = learning_rates[best]
    mean, std = _statistics(features)
    weights, biases = _train((features - mean) / std, labels, num_classes, [rate], epochs, batch_size, seed)
    return Probe(weights[0], biases[0], mean, std, rate, dict(zip(learning_rates, accuracies, strict=True)))


def _held_out(labels: Tensor, groups: Sequence | np.ndarray, seed: int) -> Tensor:
    """Return which samples (n,) bool are held out: those of ``HELD_OUT`` of the images."""
    _, image = np.unique(np.asarray(groups), return_inverse=True)
    order = np.random.default_rng(seed).permutation(image.max() + 1)
    held_out = torch.from_numpy(np.isin(image, order[: max(1, round(HELD_OUT * len(order)))]))
    if not torch.isin(labels[held_out], labels[~held_out]).any():
        raise InputError(
            'a linear probe needs classes with several images, to hold some out and choose the learning rate: '
            f'{len(labels)} samples of {len(order)} images have {len(labels.unique())} classes. Give more labels'
        )
    return held_out


def _statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation (D,); a feature that never changes is divided by 1."""
    std, mean = torch.std_mean(features, dim=0, correction=0)
    return mean, torch.where(std > 1e-6 * mean.abs(), std, 1.0)


def _train(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    learning_rates: Sequence[float],
    epochs: int,
    batch_size: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Train L linear layers on the same batches; return weights (L, D, C) and biases (L, C)."""
    batch_size = min(batch_size, len(features))
    weights = [torch.zeros(features.shape[1], num_classes, requires_grad=True) for _ in learning_rates]
    biases = [torch.zeros(num_classes, requires_grad=True) for _ in learning_rates]
    # The layers share no parameter, so that of the sum of their losses each gets the gradient of its own.
    groups = [
        dict(params=[weight, bias], lr=rate * batch_size / 256)
        for weight, bias, rate in zip(weights, biases, learning_rates, strict=True)
    ]
    optimizer = torch.optim.SGD(groups, momentum=MOMENTUM)
    steps = epochs * -(-len(features) // batch_size)
    schedule = CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for batch in torch.randperm(len(features), generator=generator).split(batch_size):
            logits = torch.einsum('nd,ldc->nlc', features[batch], torch.stack(weights)) + torch.stack(biases)
            targets = labels[batch][:, None].expand(-1, len(learning_rates))
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction='sum') / len(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return torch.stack(weights).detach(), torch.stack(biases).detach()
