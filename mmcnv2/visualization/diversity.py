"""Curves of channel diversity over the depth of networks, as in figure 4 of arXiv 2301.00808."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mmcnv2.utils.files import written_whole


def draw_diversity(networks: Mapping[str, Sequence[Mapping[str, Any]]], path: str | Path, reference: str = '') -> None:
    """Draw distance, dead and saturated channels over the normalised layer index, 0 the first layer and 1 the last.

    Args:
        networks: By name, a row for each layer with ``channels``, ``distance``, ``deviation``, ``dead``,
            ``saturated``: see ``mmcnv2.evaluation.diversity.LayerDiversity``.
        path: Image file to write; its ending is the format.
        reference: Names that begin so are drawn in grey.
    """
    figure = Figure(figsize=(8, 7), layout='constrained')
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    shades = iter(('0.45', '0.7', '0.3', '0.6') * len(networks))
    colours = iter([f'C{i}' for i in range(10)] * len(networks))
    for name, rows in networks.items():
        colour = next(shades if reference and name.startswith(reference) else colours)
        index = np.linspace(0, 1, len(rows))
        column = {key: np.array([row[key] for row in rows], dtype=float) for key in rows[0] if key != 'layer'}
        upper.plot(index, column['distance'], color=colour, marker='.', label=name)
        low, high = (column['distance'] + sign * column['deviation'] for sign in (-1, 1))
        upper.fill_between(index, low, high, color=colour, alpha=0.15, linewidth=0)
        for key, style in (('dead', '-'), ('saturated', ':')):
            lower.plot(index, 100 * column[key] / column['channels'], style, color=colour, marker='.')
    upper.set(ylabel='mean cosine distance of channels', ylim=(0, max(0.55, upper.get_ylim()[1])))
    lower.set(xlabel='normalised layer index', ylabel='channels (%)', ylim=(0, max(1, lower.get_ylim()[1])))
    for style, key in (('-', 'dead'), (':', 'saturated')):
        lower.plot([], [], style, color='black', label=key)
    lower.legend()
    figure.legend(*upper.get_legend_handles_labels(), loc='outside upper center')
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=120)
