"""Put the page of one training, or of several beside each other, together."""

import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmcnv2.recipes import config_of_work_dir, read_config_file
from mmcnv2.utils.errors import InputError
from mmcnv2.utils.run_log import RunLog, read_log
from mmcnv2.visualization.curves import plot_curves

from .findings import Findings
from .page import Page

_NOT_COMPARED = ('work_dir', 'launcher')


def write_report(
    work_dirs: Sequence[Path], out: Path, findings: Findings | None = None, checkpoint: str | None = None
) -> Path:
    """Write ``report.html`` with everything in it, and its plots and tables as PNG and CSV beside it.

    Args:
        work_dirs: Of one training, or of several to compare.
        out: Folder of the files.
        findings: Of the checkpoint of one training.
        checkpoint: Its path, for the page.

    Returns:
        The path of the page.

    Raises:
        MissingFileError: A training has logged nothing.
    """
    logs = dict(zip(_short_names(work_dirs), map(read_log, work_dirs), strict=True))
    page = Page(out, ', '.join(logs))
    page.heading('Result')
    page.table(*_summary(logs), name='summary')
    page.plot('curves', plot_curves(logs))
    values = (
        (name, key, iteration, value)
        for name, log in logs.items()
        for key, curve in (log.training | log.validation).items()
        for iteration, value in curve
    )
    page.csv('curves', ['training', 'name', 'iteration', 'value'], values)  # all that was logged
    if findings is not None:
        _add_findings(page, findings, str(checkpoint))
    configs = dict(zip(logs, (read_config_file(str(config_of_work_dir(path))) for path in work_dirs), strict=True))
    if len(logs) > 1:
        page.heading('Settings that differ')
        page.table(*_differences(configs), name='settings')
    page.heading('Settings and environment')
    for (name, config), work_dir in zip(configs.items(), work_dirs, strict=True):
        page.listing(f'{name}: config', config.pretty_text)
        page.listing(f'{name}: environment', _environment(work_dir))
    return page.write('report.html')


def _short_names(work_dirs: Sequence[Path]) -> list[str]:
    """Return the last part of each path, or as many parts as tell them apart."""
    for length in itertools.count(1):
        names = ['/'.join(path.resolve().parts[-length:]) for path in work_dirs]
        if len({*names}) == len({*(path.resolve() for path in work_dirs)}):
            break
    if len({*names}) < len(names):
        raise InputError(f'the same work dir is given twice: {", ".join(map(str, work_dirs))}')
    return names


def _summary(logs: Mapping[str, RunLog]) -> tuple[list[str], list[list[Any]]]:
    metrics = list(dict.fromkeys(name for log in logs.values() for name in log.main_metrics))
    header = ['training', 'iterations', 'last loss', 'images/s']
    header += [title for metric in metrics for title in (metric, f'{metric}, best')]
    rows = []
    for name, log in logs.items():
        iterations = max(curve[-1][0] for curve in (log.training | log.validation).values())
        row: list[Any] = [name, iterations, _last(log.training.get('loss')), _median(log.training.get('images_per_s'))]
        for metric in metrics:
            curve = log.validation.get(metric)
            row += [_last(curve), max((value for _, value in curve), default=float('nan')) if curve else float('nan')]
        rows.append(row)
    return header, rows


def _last(curve: Sequence[tuple[int, float]] | None) -> float:
    return curve[-1][1] if curve else float('nan')


def _median(curve: Sequence[tuple[int, float]] | None) -> float:
    values = sorted(value for _, value in curve or ())
    return values[len(values) // 2] if values else float('nan')


def _add_findings(page: Page, findings: Findings, checkpoint: str) -> None:
    page.heading('Validation images')
    page.text(f'Checkpoint: {checkpoint}')
    page.table(findings.header, findings.classes, name='classes')
    for name, figure in findings.figures.items():
        page.plot(name, figure)
    rows = [[name, *row] for name, row in zip(findings.names, findings.confusion.tolist(), strict=True)]
    if len(rows) <= 30:
        page.table(['true \\ predicted', *findings.names], rows, name='confusion')
    page.heading(f'The {len(findings.worst)} worst images')
    for _, caption, picture in findings.worst:
        page.picture(picture, caption)


def _differences(configs: Mapping[str, Config]) -> tuple[list[str], list[list[str]]]:
    flat = {name: dict(_flat(config.to_dict())) for name, config in configs.items()}
    keys = dict.fromkeys(itertools.chain.from_iterable(flat.values()))
    rows = []
    for key in keys:
        values = [str(settings.get(key, '-')) for settings in flat.values()]
        if len({*values}) > 1 and key.partition('.')[0] not in _NOT_COMPARED:
            rows.append([key, *(value if len(value) < 120 else f'{value[:117]}...' for value in values)])
    return ['setting', *configs], rows


def _flat(value: Any, key: str = '') -> Any:
    """Yield (key, value) of all that is no dict and no list of dicts."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(inner, f'{key}.{name}' if key else str(name))
    elif isinstance(value, list | tuple) and any(isinstance(inner, Mapping) for inner in value):
        for i, inner in enumerate(value):
            yield from _flat(inner, f'{key}.{i}')
    else:
        yield key, value


def _environment(work_dir: Path) -> str:
    """Return the environment that the newest log of a training lists."""
    logs = sorted(work_dir.glob('*/*.log'))
    text = logs[-1].read_text(encoding='utf-8', errors='replace') if logs else ''
    found = re.search(r'System environment:\n(.*?)\n-{20,}', text, re.DOTALL)
    return found[1] if found else 'not in the log'
