"""Trains for many iterations and tells whether memory and open files stay as they are.

    python tools/analysis_tools/steady_state.py configs/toy/fcmae_convnextv2-atto_toy-scenes.py --iterations 2000

Every ten iterations it notes the resident memory of the process and its data loader workers, the files that they have
open, and the loss. At the end it prints slopes (least squares, after --warmup) and the range, and with --picture draws
them. Validation, checkpoints and pictures happen when the config says; --cfg-options changes that.
"""

import argparse
import contextlib
import json
import math
import os
from pathlib import Path

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmcnv2.cli.arguments import add_config_arguments, load_config
from mmcnv2.cli.errors import errors_in_one_line
from mmcnv2.engine.runner import build_runner
from mmcnv2.preflight import check_dataset_paths

EVERY = 10
PAGE = os.sysconf('SC_PAGE_SIZE') / 2**20  # MB


class LongEnough(Exception):
    """The run has had its iterations."""


class ResourceRecorder(Hook):
    """Rows of iteration, resident memory (MB), open files and loss, until ``iterations`` are done."""

    priority = 'LOWEST'  # after checkpoints and pictures of the same iteration

    def __init__(self, iterations: int) -> None:
        self.iterations = iterations
        self.rows: list[tuple[int, float, int, float]] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        done = runner.iter + 1
        if done % EVERY == 0:
            processes = [os.getpid(), *_children(os.getpid())]
            memory = sum(_resident(pid) for pid in processes)
            files = sum(len(os.listdir(f'/proc/{pid}/fd')) for pid in processes)
            self.rows.append((done, memory, files, outputs['loss'].item()))
        if done == self.iterations:
            raise LongEnough


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


def _resident(pid: int) -> float:
    return int(Path(f'/proc/{pid}/statm').read_text().split()[1]) * PAGE


def summary(rows: list[tuple[int, float, int, float]], warmup: int) -> dict[str, float]:
    """Slopes per 100 iterations after ``warmup``, ranges, and whether the loss was finite throughout."""
    kept = np.array([row for row in rows if row[0] > warmup])
    iterations, memory, files, _ = kept.T
    return dict(
        iterations=rows[-1][0],
        memory_slope=float(np.polyfit(iterations, memory, 1)[0] * 100),
        memory_min=float(memory.min()),
        memory_max=float(memory.max()),
        files_slope=float(np.polyfit(iterations, files, 1)[0] * 100),
        files_min=int(files.min()),
        files_max=int(files.max()),
        loss_finite=all(math.isfinite(row[3]) for row in rows),
        loss_first=rows[0][3],
        loss_last=rows[-1][3],
    )


def draw(rows: list[tuple[int, float, int, float]], path: str) -> None:
    """Memory, open files and loss over the iterations."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    iterations, *columns = np.array(rows).T
    figure, axes = plt.subplots(len(columns), 1, sharex=True, figsize=(8, 6), layout='constrained')
    for axis, values, name in zip(axes, columns, ('resident memory (MB)', 'open files', 'loss'), strict=True):
        axis.plot(iterations, values)
        axis.set_ylabel(name)
        if name != 'loss':
            axis.set_ylim(0, 1.2 * values.max())
    axes[-1].set_xlabel('iterations')
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_config_arguments(parser)
    parser.add_argument('--iterations', type=int, default=2000)
    parser.add_argument('--warmup', type=int, default=500, help='iterations before memory must be steady')
    parser.add_argument('--picture', metavar='FILE.png', help='draw memory, open files and loss')
    parser.add_argument('--json', metavar='FILE', help='write all rows')
    args = parser.parse_args()
    if not args.warmup + 2 * EVERY <= args.iterations:
        parser.error(f'--iterations must be at least --warmup + {2 * EVERY}, got {args.iterations} and {args.warmup}')
    recorder = ResourceRecorder(args.iterations)
    with errors_in_one_line(), contextlib.suppress(LongEnough):
        cfg = load_config(args)
        cfg.train_cfg.update({key: args.iterations for key in ('max_epochs', 'max_iters') if key in cfg.train_cfg})
        check_dataset_paths(cfg, ('train', 'val'))
        runner = build_runner(cfg)
        runner.register_hook(recorder)
        runner.train()
    if args.json:
        Path(args.json).write_text(json.dumps(recorder.rows))
    if args.picture:
        draw(recorder.rows, args.picture)
    for name, value in summary(recorder.rows, args.warmup).items():
        print(f'{name}: {value:.4g}' if isinstance(value, float) else f'{name}: {value}')


if __name__ == '__main__':
    main()
