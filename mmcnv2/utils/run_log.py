"""What a training has logged, also one that was stopped and resumed."""

import contextlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import MissingFileError

Curve = list[tuple[int, float]]
_MAIN = ('_mAP', 'mIoU', 'top1', '/PQ')
_MOST = 6
_COUNTERS = ('step', 'iter', 'epoch', 'data_time')


@dataclass
class RunLog:
    """The curves of a training: (iteration, value) by name.

    Attributes:
        training: What is logged while training: loss, lr, images_per_s ...
        validation: The metrics of validations, and what probes log.
    """

    training: dict[str, Curve] = field(default_factory=dict)
    validation: dict[str, Curve] = field(default_factory=dict)

    @property
    def main_metrics(self) -> list[str]:
        """The names to look at first, where a validation has many."""
        main = [name for name in self.validation if name.endswith(_MAIN)]
        return main or list(self.validation)[:_MOST]


def read_log(work_dir: str | Path) -> RunLog:
    """Read what a training has logged in the ``scalars.json`` of its runs.

    A validation belongs to the last iteration that was logged before it. A run that was resumed goes on where it says
    so: what an earlier one had logged from there on is left out. So are numbers that are not finite.

    Args:
        work_dir: Of the training, with a folder for each run.

    Raises:
        MissingFileError: Nothing is logged there.
    """
    records: list[tuple[int, bool, dict[str, Any]]] = []
    for file in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        run = list(_records(file.read_text(encoding='utf-8').splitlines()))
        if run:
            start = next((iteration for iteration, *_ in run if iteration), math.inf)
            records = [one for one in records if one[0] < start]
            before = records[-1][0] if records else 0
            for iteration, is_training, record in run:
                # One that is made up for comes first, and its step is its iteration, or its epoch.
                position = iteration or max(before, record.get('step', 0))
                records.append((position, is_training, record))
    if not records:
        raise MissingFileError(f'{work_dir}: no run has logged anything there (expected */vis_data/scalars.json)')
    log = RunLog()
    for iteration, is_training, record in records:
        curves, left_out = (log.training, _COUNTERS) if is_training else (log.validation, (*_COUNTERS, 'time'))
        for name, value in record.items():
            if name not in left_out and isinstance(value, int | float) and math.isfinite(value):
                curves.setdefault(name, []).append((iteration, value))
    return log


def validations(work_dir: str | Path) -> dict[int, dict[str, float]]:
    """Return the metrics of each validation by the step that it was logged with; {} if none was.

    The step is an iteration, or an epoch with MMEngine's ``LoggerHook(log_metric_by_epoch=True)``. Numbers that are
    not finite are left out.
    """
    found: dict[int, dict[str, float]] = {}
    for file in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for _, is_training, record in _records(file.read_text(encoding='utf-8').splitlines()):
            if not is_training and 'step' in record:
                finite = {k: v for k, v in record.items() if isinstance(v, int | float) and math.isfinite(v)}
                left_out = (*_COUNTERS, 'time')
                found.setdefault(record['step'], {}).update({k: v for k, v in finite.items() if k not in left_out})
    return found


def _records(lines: Iterable[str]) -> Iterator[tuple[int, bool, dict[str, Any]]]:
    """Yield iteration, whether it is of the training, and content of each line; one that was cut off is left out."""
    iteration = 0
    for line in lines:
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            iteration = record.get('iter', iteration)  # a validation has none
            yield iteration, 'iter' in record, record
