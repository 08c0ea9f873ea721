"""Classify by the nearest neighbours among frozen features, as DINO does.

Caron et al., Emerging Properties in Self-Supervised Vision Transformers (arXiv 2104.14294), after Wu et al. (arXiv
1805.01978): cosine similarity s of L2-normalised features, votes exp(s / T) with T = 0.07.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmcnv2.utils.errors import InputError

TEMPERATURE = 0.07
_SIMILARITIES = 2**24  # at a time


def knn_predict(
    train: Tensor,
    train_labels: Tensor,
    val: Tensor,
    ks: Sequence[int],
    temperature: float = TEMPERATURE,
    num_guesses: int = 1,
) -> dict[int, Tensor]:
    """Predict the classes of features by the weighted votes of their k nearest neighbours.

    Classes with equal votes come in the order of their labels. Which of several equally similar neighbours is the k-th
    is left to ``torch.topk``.

    Args:
        train: (n, D) float.
        train_labels: (n,) int64, from 0.
        val: (m, D) float.
        ks: Numbers of neighbours, each from 1 to n.
        temperature: T of the votes exp(s / T); positive.
        num_guesses: How many classes to return, most votes first; at most the largest label + 1.

    Returns:
        (m, num_guesses) int64 for each k.

    Raises:
        InputError: If a k is not from 1 to n.
    """
    if wrong := [k for k in ks if not 1 <= k <= len(train)]:
        raise InputError(f'k must be from 1 to the number of training samples, {len(train)}, got {wrong[0]}')
    num_classes = int(train_labels.max()) + 1
    train, val = F.normalize(train, dim=1), F.normalize(val, dim=1)
    guesses: dict[int, list[Tensor]] = {k: [] for k in ks}
    for chunk in val.split(max(1, _SIMILARITIES // max(len(train), num_classes))):
        similarities, neighbours = (chunk @ train.T).topk(max(ks), dim=1)
        # Relative to the nearest one: the order of the votes is the same, and none is too large for float32.
        weights = ((similarities - similarities[:, :1]) / temperature).exp()
        for k in ks:
            votes = chunk.new_zeros(len(chunk), num_classes)
            votes.scatter_add_(1, train_labels[neighbours[:, :k]], weights[:, :k])
            guesses[k].append(votes.sort(dim=1, descending=True, stable=True).indices[:, :num_guesses])
    return {k: torch.cat(parts) for k, parts in guesses.items()}
