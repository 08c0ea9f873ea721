"""Fine-tune from every start with the same budget, on shares of the labels, with several seeds; tables and plots.

python tools/evidence.py upernet_nuclei [--work-dir work_dirs/evidence] [--lanes 2] [--report]

Each training is a run of tools/train.py; its log and config are in the work dir. A run that is there is not made
again, so the command goes on where it was stopped; --report makes none and shows what is there. The starts from FCMAE
need the checkpoints of configs/evidence/fcmae_*.py, by default where tools/train.py leaves them.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmcnv2.utils.cores import num_cores
from mmcnv2.utils.run_log import read_log

ROOT = Path(__file__).resolve().parents[1]
TUNING_SHARE, TUNING_SEED = '20 %', 0  # this seed is in no table
SEEDS = (1, 2, 3)
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
STARTS = {  # backbone in the name of the config, and whether FCMAE pre-trained it
    'ConvNeXt V2, FCMAE': ('convnextv2-atto', True),
    'ConvNeXt V2, random': ('convnextv2-atto', False),
    'ConvNeXt, FCMAE': ('convnext-atto', True),
    'ConvNeXt, random': ('convnext-atto', False),
    'ConvNeXt V2 pico, FCMAE': ('convnextv2-pico', True),
    'ConvNeXt V2 pico, random': ('convnextv2-pico', False),
    'ResNet-18, random': ('resnet18', False),
}


@dataclass(frozen=True)
class Task:
    """What is trained, on which images, and the budget, which is the same for every start.

    ``metrics``: titles by the names in the log; the first decides on the learning rate. ``shares``: the images with
    labels. ``learning_rates``: of RATES, what is tried first. ``longer``: iterations of further runs with all labels:
    how many does a start from random weights need to catch up? ``starts``: of STARTS.
    """

    title: str
    metrics: dict[str, str]
    pretraining: str
    shares: dict[str, int]
    learning_rates: tuple[float, ...]
    iterations: int
    longer: tuple[int, ...]
    starts: tuple[str, ...] = tuple(STARTS)


NUCLEI_SHARES = {'5 %': 23, '20 %': 93, '100 %': 464}
TASKS = {
    'upernet_nuclei': Task(
        title='UperNet on nuclei',
        metrics={'mIoU': 'mIoU'},
        pretraining='nuclei',
        shares=NUCLEI_SHARES,
        learning_rates=(3e-4, 1e-3, 3e-3),
        iterations=300,
        longer=(600, 1200),
    ),
    'upernet_coco-coarse': Task(
        title='UperNet on COCO, 20 classes',
        metrics={'mIoU': 'mIoU'},
        pretraining='photographs',
        shares={'20 %': 20, '100 %': 100},
        learning_rates=(3e-4, 1e-3, 3e-3),
        iterations=300,
        longer=(600, 1200),
        starts=tuple(start for start in STARTS if 'pico' not in start),
    ),
    'mask-rcnn_nuclei': Task(
        title='Mask R-CNN on nuclei',
        metrics={'mask AP': 'coco/segm_mAP', 'box AP': 'coco/bbox_mAP'},
        pretraining='nuclei',
        shares=NUCLEI_SHARES,
        learning_rates=(3e-4, 1e-3),
        iterations=400,
        longer=(800,),
    ),
    'dense-linear_nuclei': Task(
        title='Dense linear probe on nuclei',
        metrics={'mIoU': 'mIoU'},
        pretraining='nuclei',
        shares=NUCLEI_SHARES,
        learning_rates=(3e-3, 1e-2, 3e-2),
        iterations=300,
        longer=(),
        starts=tuple(start for start in STARTS if 'ResNet' not in start),
    ),
}


@dataclass(frozen=True)
class Run:
    """A training: task, start, share of the labels, base learning rate, seed and iterations."""

    task: str
    start: str
    share: str
    lr: float
    seed: int
    iterations: int

    @property
    def name(self) -> str:
        backbone, pretrained = STARTS[self.start]
        weights = 'fcmae' if pretrained else 'random'
        share = self.share.replace(' %', 'percent')
        return f'{self.task}_{backbone}_{weights}_{share}_lr{self.lr:g}_seed{self.seed}_{self.iterations}its'

    def command(self, work_dir: Path, checkpoints: Path) -> list[str]:
        """The training as a command.

        Args:
            work_dir: The folder of all runs.
            checkpoints: The folder of the work dirs of the pre-trainings.
        """
        backbone, pretrained = STARTS[self.start]
        task = TASKS[self.task]
        # The same images for every start, others for another seed.
        images = random.Random(self.seed).sample(range(task.shares['100 %']), task.shares[self.share])
        options = {
            'optim_wrapper.optimizer.lr': self.lr,
            'train_dataloader.dataset.indices': str(sorted(images)).replace(' ', ''),
            'randomness.seed': self.seed,
            'train_cfg.max_iters': self.iterations,
            'train_cfg.val_interval': self.iterations,
            'default_hooks.checkpoint.interval': self.iterations,
            'default_hooks.checkpoint.save_optimizer': False,
        }
        if pretrained:
            run_dir = checkpoints / f'fcmae_{backbone}_{task.pretraining}'
            options |= {
                'model.backbone.init_cfg.type': 'Pretrained',
                'model.backbone.init_cfg.prefix': 'backbone.',
                'model.backbone.init_cfg.checkpoint': (run_dir / 'last_checkpoint').read_text().strip(),
            }
        model, data = self.task.split('_')
        config = ROOT / f'configs/evidence/{model}_{backbone}_{data}.py'
        train = [sys.executable, str(ROOT / 'tools/train.py'), str(config), '--work-dir', str(work_dir / self.name)]
        return [*train, '--cfg-options', *(f'{key}={value}' for key, value in options.items())]


class Results:
    """The metrics of each run in percent, in a JSON file that is written after each."""

    def __init__(self, file: Path) -> None:
        self.file = file
        records = json.loads(self.file.read_text()) if self.file.exists() else []
        self.values = {Run(**record['run']): record['metrics'] for record in records}
        self._lock = threading.Lock()

    def add(self, run: Run, metrics: dict[str, float]) -> None:
        with self._lock:
            self.values[run] = metrics
            records = [{'run': asdict(run), 'metrics': metrics} for run, metrics in self.values.items()]
            partial = self.file.with_suffix('.partial')
            partial.write_text(json.dumps(records, indent=1))
            partial.replace(self.file)


def last_metrics(task: str, run_dir: Path) -> dict[str, float]:
    """What a run has logged last, in percent: mmseg logs that, mmdet fractions."""
    logged = read_log(run_dir).validation
    return {title: logged[key][-1][1] * (100 if 'AP' in key else 1) for title, key in TASKS[task].metrics.items()}


def train(runs: list[Run], results: Results, work_dir: Path, checkpoints: Path, lanes: int) -> None:
    """Make the runs that are not there yet, ``lanes`` at a time with one thread each.

    Raises:
        SystemExit: If runs fail, with their logs; the others are made.
    """
    missing = [run for run in runs if run not in results.values]
    failed: list[Path] = []
    begin = time.monotonic()

    def make(number: int, run: Run) -> None:
        log = work_dir / f'{run.name}.log'
        with log.open('w') as file:
            environment = {'OMP_NUM_THREADS': '1', **os.environ}
            command = run.command(work_dir, checkpoints)
            done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, env=environment)
        if done.returncode != 0:
            failed.append(log)
            print(f'[{number}/{len(missing)}] {run.name}: failed, see {log}', flush=True)
            return
        results.add(run, last_metrics(run.task, work_dir / run.name))
        left = (time.monotonic() - begin) / number * (len(missing) - number) / 60
        found = ', '.join(f'{title} {value:.1f}' for title, value in results.values[run].items())
        print(f'[{number}/{len(missing)}] {run.name}: {found}; {left:.0f} min left', flush=True)

    with ThreadPoolExecutor(lanes) as pool:
        for future in [pool.submit(make, number, run) for number, run in enumerate(missing, start=1)]:
            future.result()
    if failed:
        raise SystemExit(f'error: {len(failed)} runs failed: {", ".join(map(str, failed))}')


def tuning_run(task: str, start: str, lr: float) -> Run:
    return Run(task, start, TUNING_SHARE, lr, TUNING_SEED, TASKS[task].iterations)


def tried_rates(task: str, start: str, results: Results) -> dict[float, float]:
    """The scores of a start on the share and seed for tuning, by learning rate."""
    metric = next(iter(TASKS[task].metrics))
    runs = {lr: tuning_run(task, start, lr) for lr in RATES}
    return {lr: results.values[run][metric] for lr, run in runs.items() if run in results.values}


def begun(task: str, results: Results) -> list[str]:
    """The starts of which something is there."""
    return [start for start in TASKS[task].starts if tried_rates(task, start, results)]


def tuning_runs(task: str, start: str, results: Results) -> list[Run]:
    """The next learning rates to try: until the best one has a worse one on either side, or is the last of RATES."""
    tried = tried_rates(task, start, results)
    rates = [lr for lr in TASKS[task].learning_rates if lr not in tried]
    if not rates:
        best = RATES.index(max(tried, key=tried.__getitem__))
        rates = [lr for lr in RATES[max(best - 1, 0) : best + 2] if lr not in tried]
    return [tuning_run(task, start, lr) for lr in rates]


def best_lr(task: str, start: str, results: Results) -> float:
    """The learning rate with which a start did best on the share and seed for tuning."""
    tried = tried_rates(task, start, results)
    return max(tried, key=tried.__getitem__)


def compared_runs(task: str, start: str, share: str, results: Results) -> list[Run]:
    """A cell of the table: a run a seed."""
    lr, iterations = best_lr(task, start, results), TASKS[task].iterations
    return [Run(task, start, share, lr, seed, iterations) for seed in SEEDS]


def lengths(task: str) -> tuple[int, ...]:
    """The iterations of the comparison and of the longer runs."""
    return (TASKS[task].iterations, *TASKS[task].longer)


def runs_by_length(task: str, start: str, results: Results) -> dict[int, Run]:
    """Trainings of a start with all labels and one seed, by their iterations."""
    lr = best_lr(task, start, results)
    return {length: Run(task, start, '100 %', lr, SEEDS[0], length) for length in lengths(task)}


def by_length(task: str, metric: str, start: str, results: Results) -> dict[int, float]:
    """The scores of those trainings that were made."""
    runs = runs_by_length(task, start, results)
    return {length: results.values[run][metric] for length, run in runs.items() if run in results.values}


def longer_runs(task: str, results: Results) -> list[Run]:
    """All starts with more iterations than in the comparison."""
    runs = [runs_by_length(task, start, results) for start in begun(task, results)]
    return [of_start[length] for length in TASKS[task].longer for of_start in runs]


def has_longer(task: str, results: Results) -> bool:
    return any(run in results.values for run in longer_runs(task, results))


def scores(task: str, metric: str, start: str, share: str, results: Results) -> list[float]:
    """Those of the seeds that were run, in percent."""
    runs = compared_runs(task, start, share, results)
    return [results.values[run][metric] for run in runs if run in results.values]


def mean_and_spread(values: list[float]) -> str:
    """As '81.2 ± 0.4 (3)': mean, standard deviation between seeds, how many seeds."""
    if len(values) < 2:
        return f'{values[0]:.1f} (1)' if values else 'open'
    return f'{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f} ({len(values)})'


def tables(task: str, results: Results) -> str:
    """What came out, what was tried, and the longer runs, as Markdown."""
    shares, metrics = TASKS[task].shares, TASKS[task].metrics
    starts = begun(task, results)
    lines = []
    for metric in metrics:
        lines += [f'| {metric}: start | lr | {" | ".join(shares)} |', '| --- ' * (2 + len(shares)) + '|']
        for start in starts:
            cells = [mean_and_spread(scores(task, metric, start, share, results)) for share in shares]
            lines.append(f'| {start} | {best_lr(task, start, results):g} | {" | ".join(cells)} |')
        lines.append('')
    metric = next(iter(metrics))
    tried = {start: tried_rates(task, start, results) for start in starts}
    rates = [lr for lr in RATES if any(lr in of_start for of_start in tried.values())]
    lines += [f'| {metric}: start | {" | ".join(f"lr {lr:g}" for lr in rates)} |', '| --- ' * (1 + len(rates)) + '|']
    for start, of_start in tried.items():
        lines.append(f'| {start} | {" | ".join(f"{of_start[lr]:.1f}" if lr in of_start else "-" for lr in rates)} |')
    if has_longer(task, results):
        for metric in metrics:
            titles = ' | '.join(f'{iterations} iterations' for iterations in lengths(task))
            lines += ['', f'| {metric}, all labels, one seed: start | {titles} |']
            lines += ['| --- ' * (1 + len(lengths(task))) + '|']
            for start in starts:
                found = by_length(task, metric, start, results)
                cells = [f'{found[length]:.1f}' if length in found else 'open' for length in lengths(task)]
                lines.append(f'| {start} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def plot(task: str, results: Results) -> Figure:
    """Plot each metric over the share of the labels and, if there are longer trainings, over their length."""
    draw = [plot_shares, plot_lengths] if has_longer(task, results) else [plot_shares]
    metrics = TASKS[task].metrics
    figure = Figure(figsize=(4.8 * len(metrics), 3.6 * len(draw)), layout='constrained')
    for row, drawn in zip(figure.subplots(len(draw), len(metrics), squeeze=False), draw, strict=True):
        for axes, metric in zip(row, metrics, strict=True):
            axes.set(ylabel=metric, xscale='log')
            drawn(axes, task, metric, results)
            axes.minorticks_off()
            axes.grid(alpha=0.3)
    lines = figure.axes[0].get_legend_handles_labels()
    figure.legend(*lines, loc='outside lower center', ncols=2, fontsize='small')  # not over the bands
    figure.suptitle(TASKS[task].title)
    return figure


def look(start: str) -> dict[str, str]:
    """How the line of a start is drawn."""
    backbone, pretrained = STARTS[start]
    colors = {
        'convnextv2-atto': 'tab:green',
        'convnextv2-pico': 'tab:olive',
        'convnext-atto': 'tab:blue',
        'resnet18': 'tab:gray',
    }
    return dict(color=colors[backbone], linestyle='-' if pretrained else '--', marker='o', label=start)


def plot_shares(axes: Axes, task: str, metric: str, results: Results) -> None:
    """Plot the mean, and a band from the lowest to the highest seed."""
    shares = TASKS[task].shares
    for start in begun(task, results):
        found = {number: scores(task, metric, start, share, results) for share, number in shares.items()}
        found = {number: values for number, values in found.items() if values}
        if found:
            means, low, high = ([of(values) for values in found.values()] for of in (statistics.mean, min, max))
            (line,) = axes.plot(list(found), means, **look(start))
            axes.fill_between(list(found), low, high, color=line.get_color(), alpha=0.15)
    axes.set(xlabel='images with labels')
    axes.set_xticks(list(shares.values()), [f'{number}\n{share}' for share, number in shares.items()])


def plot_lengths(axes: Axes, task: str, metric: str, results: Results) -> None:
    """Plot trainings of one seed, each with a schedule of its own."""
    for start in begun(task, results):
        found = by_length(task, metric, start, results)
        if found:
            axes.plot(list(found), list(found.values()), **look(start))
    axes.set(xlabel='iterations, all labels, one seed')
    axes.set_xticks(lengths(task), list(map(str, lengths(task))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('task', choices=TASKS)
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs/evidence')
    parser.add_argument('--checkpoints', type=Path, default=ROOT / 'work_dirs', help='work dirs of the pre-trainings')
    parser.add_argument('--lanes', type=int, default=min(2, num_cores()), help='trainings at a time (default: 2)')
    parser.add_argument('--report', action='store_true', help='train nothing: tables and plot of what there is')
    args = parser.parse_args()
    task = args.task
    args.work_dir.mkdir(parents=True, exist_ok=True)
    results = Results(args.work_dir / f'{task}.json')

    def make(runs: list[Run]) -> None:
        train(runs, results, args.work_dir, args.checkpoints, args.lanes)

    if not args.report:
        starts = TASKS[task].starts
        while runs := [run for start in starts for run in tuning_runs(task, start, results)]:
            make(runs)
        cells = [compared_runs(task, start, share, results) for share in TASKS[task].shares for start in starts]
        make([run for runs_of_a_seed in zip(*cells, strict=True) for run in runs_of_a_seed])
        make(longer_runs(task, results))
    (args.work_dir / f'{task}.md').write_text(tables(task, results) + '\n')
    plot(task, results).savefig(args.work_dir / f'{task}.png', dpi=110)
    print(tables(task, results))


if __name__ == '__main__':
    main()
