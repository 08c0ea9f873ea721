"""The curves of one training, or of several beside each other."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from mmcnv2.utils.run_log import RunLog

_TITLES = {'loss': 'loss', 'lr': 'learning rate', 'images_per_s': 'images/s'}
_COLUMNS = 3


def plot_curves(runs: Mapping[str, RunLog]) -> Figure:
    """Plot loss, learning rate, images/s and the metrics of validations over the iterations.

    Args:
        runs: The logs of trainings by their names.
    """
    names = [name for name in _TITLES if any(name in log.training for log in runs.values())]
    names += dict.fromkeys(name for log in runs.values() for name in log.main_metrics)
    rows, columns = max(-(-len(names) // _COLUMNS), 1), max(min(len(names), _COLUMNS), 1)
    figure = Figure(figsize=(4 * columns, 2.8 * rows + 0.4), layout='constrained')
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, name in zip(panels, names, strict=False):
        for number, (title, log) in enumerate(runs.items()):
            curve = log.training.get(name) or log.validation.get(name)
            if curve:
                marker = None if len(curve) > 1 and name in log.training else 'o'
                axes.plot(*zip(*curve, strict=True), color=f'C{number % 10}', marker=marker, markersize=3, label=title)
        axes.set(title=_TITLES.get(name, name), xlabel='iteration')
        axes.grid(alpha=0.3)
    for axes in panels[len(names) :]:
        axes.remove()
    if len(runs) > 1:
        figure.legend(*panels[0].get_legend_handles_labels(), loc='outside lower center', fontsize='small')
    return figure
