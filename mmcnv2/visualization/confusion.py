"""A confusion matrix as a picture."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

_MOST_WITH_NUMBERS = 20


def plot_confusion(matrix: np.ndarray, names: Sequence[str], title: str) -> Figure:
    """Plot the share of each true class (row) that is predicted as each class (column).

    Args:
        matrix: (n, n) counts.
        names: n names.
        title: Above the plot.
    """
    count = len(names)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.45 * min(count, 40)
    figure = Figure(figsize=(side + 0.8, side), layout='constrained')
    axes = figure.subplots()
    axes.imshow(shares, cmap='Blues', vmin=0, vmax=1)
    axes.set_xticks(range(count), names, rotation=90, fontsize='small')
    axes.set_yticks(range(count), names, fontsize='small')
    axes.set(xlabel='predicted', ylabel='true', title=title)
    axes.title.set_fontsize('small')
    if count <= _MOST_WITH_NUMBERS:
        for row in range(count):
            for column in range(count):
                if matrix[row, column]:
                    color = 'white' if shares[row, column] > 0.5 else 'black'
                    text = f'{shares[row, column]:.2f}'
                    axes.text(column, row, text, ha='center', va='center', fontsize=7, color=color)
    return figure
