"""Bars: their heights, and their intervals."""

import pytest
from matplotlib.figure import Figure

from mmcnv2.visualization.accuracies import draw_accuracies


def rows(name, *tops):
    return [
        dict(weights=name, k=k, top1=top, top1_interval=[top - 3, top + 5])
        for k, top in zip((10, 20), tops, strict=True)
    ]


def test_bars(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(Figure, 'savefig', lambda figure, path: figures.append(figure))
    draw_accuracies(rows('a.pth', 50, 60) + rows('random weights (atto)', 20, 30), 'bars.png', 'title')
    ((axes,),) = [figure.axes for figure in figures]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ['k = 10', 'k = 20']
    assert [bar.get_height() for bar in axes.patches] == [50, 60, 20, 30]
    assert [round(bar.get_x() + bar.get_width() / 2, 6) for bar in axes.patches] == [-0.2, 0.8, 0.2, 1.2]
    ends = [segment[:, 1] for lines in axes.collections for segment in lines.get_segments()]
    assert [end.tolist() for end in ends] == [pytest.approx([top - 3, top + 5]) for top in (50, 60, 20, 30)]
