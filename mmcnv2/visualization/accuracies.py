"""Accuracies with their intervals as bars."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure


def draw_accuracies(rows: Sequence[Mapping[str, Any]], path: str, title: str) -> None:
    """Draw the top-1 accuracy of networks, a bar each, side by side for each k.

    Args:
        rows: With ``weights`` (str), ``top1`` and ``top1_interval`` (two numbers) in percent, and maybe ``k``.
        path: Picture to write; its ending is its format.
        title: What is above it.
    """
    names = list(dict.fromkeys(row['weights'] for row in rows))
    ks = list(dict.fromkeys(row.get('k') for row in rows))
    figure = Figure(figsize=(7, 1.8 + 0.25 * len(names) + 1.8), layout='constrained')
    axes = figure.subplots()
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        own = [row for row in rows if row['weights'] == name]
        places = [ks.index(row.get('k')) + (i - (len(names) - 1) / 2) * width for row in own]
        heights = [row['top1'] for row in own]
        # A percentile interval may lie beside the mean of very few images.
        below = [max(0.0, row['top1'] - row['top1_interval'][0]) for row in own]
        above = [max(0.0, row['top1_interval'][1] - row['top1']) for row in own]
        is_random = name.startswith('random weights')
        axes.bar(places, heights, width * 0.9, label=name, color='0.7' if is_random else None)
        axes.errorbar(places, heights, yerr=[below, above], fmt='none', ecolor='black', elinewidth=1, capsize=3)
    axes.set_xticks(range(len(ks)), [f'k = {k}' if k is not None else '' for k in ks])
    axes.set(ylabel='top-1 accuracy (%), 95 % interval', ylim=(0, 100), title=title)
    figure.legend(loc='outside lower center', fontsize='small')
    figure.savefig(path)
