"""The main job on the built-in toy scenes: pre-train, transfer to Mask R-CNN and UperNet, compare, report.

python tools/quickstart.py [--quick] [--checkpoint FILE] [--seed 0] [--work-dir work_dirs/quickstart]

Each training is a run of tools/train.py; its log, checkpoints and config are in the work dir. Two run at a time where
there are two cores: a second thread makes trainings this small little faster.
"""

import argparse
import contextlib
import functools
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from PIL import Image

from mmcnv2.apis import Predictor
from mmcnv2.toy_scenes import CLASSES
from mmcnv2.utils.cores import num_cores
from mmcnv2.utils.processor import describe_processor, multiplies_bfloat16
from mmcnv2.utils.run_log import read_log
from mmcnv2.visualization import contact_sheet, draw_instances, draw_label_map

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = {
    name: ROOT / f'configs/toy/{name}_convnextv2-atto_toy-scenes.py' for name in ('fcmae', 'mask-rcnn', 'upernet')
}
METRICS = {
    'mask-rcnn': {'box AP': 'coco/bbox_mAP', 'mask AP': 'coco/segm_mAP'},
    'upernet': {'mIoU': 'mIoU'},
}
TITLES = {'mask-rcnn': 'Mask R-CNN', 'upernet': 'UperNet'}
SCALES = {'mask-rcnn': 100, 'upernet': 1}  # to percent: mmdet reports AP as a fraction, mmseg mIoU in percent
STARTS = {'from scratch': 'scratch', 'from FCMAE': 'fcmae'}
GIVEN = {'from --checkpoint': 'checkpoint'}  # one more start, with that option
# What suits a pre-trained start: learning rates were tuned for each by itself (docs/start/quickstart.md).
PRETRAINED = {'upernet': {'optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult': 0.3}}
SHOWN_SECONDS = 15  # a line of progress at least this often
ZOOM = 2  # of the pictures
NUM_PICTURES = 6
NUM_OVERVIEW = 2  # of these, in the overview
PICTURES = {
    'overview.png': (
        'What goes in, what comes out',
        'Scenes that no training saw: the image; what FCMAE sees of it and what it makes of the rest; what Mask R-CNN '
        'and UperNet find, both from the FCMAE checkpoint; the annotation.',
    ),
    'curves.png': (
        'Curves',
        'The loss of the pre-training, and the scores on the val split over the iterations of the trainings.',
    ),
    'reconstruction.png': (
        'Input, masked, reconstruction',
        'At the end of the pre-training. FCMAE predicts normalised pixels, so brightness and contrast of a patch are '
        'those of the true patch.',
    ),
    'detections.png': (
        'Detections',
        'The annotation, then what Mask R-CNN finds with a score above 0.4, by start.',
    ),
    'segmentations.png': ('Segmentations', 'The annotation, then the label maps of UperNet, by start.'),
}


@dataclass
class Step:
    """One command of the job. ``expected_seconds``: measured on two cores, for the ETA only."""

    name: str
    command: list[str]
    expected_seconds: float
    after: tuple[str, ...] = ()  # the steps whose results it needs
    seconds: float = 0.0


@dataclass
class Plan:
    """How long everything is: all of it, or ``--quick``.

    ``data_root`` is the folder of the toy scenes, ``scenes`` how many, ``lengths`` the epochs or iterations of the
    trainings, ``seconds`` what each step takes on two cores, ``seed`` that of all trainings; the scenes stay the same.
    ``checkpoint`` is one that was pre-trained before, to start from as well.
    """

    data_root: Path
    scenes: dict[str, int]
    lengths: dict[str, int]
    seconds: dict[str, float]
    seed: int = 0
    checkpoint: str | None = None

    @property
    def starts(self) -> dict[str, str]:
        return STARTS if self.checkpoint is None else STARTS | GIVEN


@functools.cache
def length(task: str) -> int:
    """The epochs or iterations in the config of a task."""
    train_cfg = Config.fromfile(CONFIGS[task]).train_cfg
    return train_cfg.get('max_epochs') or train_cfg.max_iters


def whole_plan() -> Plan:
    return Plan(
        data_root=ROOT / 'data/toy_scenes',
        scenes=dict(unlabelled=2000, train=300, val=100),
        lengths={task: length(task) for task in CONFIGS},
        seconds={'toy_scenes': 55, 'fcmae': 330, 'mask-rcnn': 240, 'upernet': 150},
    )


def quick_plan() -> Plan:
    return Plan(
        data_root=ROOT / 'data/toy_scenes_quick',
        scenes=dict(unlabelled=500, train=100, val=50),
        lengths={'fcmae': 4, 'mask-rcnn': 160, 'upernet': 100},
        seconds={'toy_scenes': 18, 'fcmae': 60, 'mask-rcnn': 85, 'upernet': 57},
    )


def training(task: str, start: str, plan: Plan, work_dir: Path) -> Step:
    """A run of tools/train.py; a start from FCMAE waits for its checkpoint.

    The pre-training is in bfloat16 where the processor multiplies in it.
    """
    pre_training = task == 'fcmae'
    name = task if pre_training else f'{task}_{start}'
    after = 'fcmae' if start == 'fcmae' else 'toy_scenes'
    options: dict[str, object] = {'randomness.seed': plan.seed}
    folders = dict(train='unlabelled/', test='val/') if pre_training else dict(train='', val='', test='')
    for split, folder in folders.items():
        options[f'{split}_dataloader.dataset.data_root'] = f'{plan.data_root}/{folder}'
    if plan.lengths[task] != length(task):
        end = plan.lengths[task]
        options['train_cfg.max_epochs' if pre_training else 'train_cfg.max_iters'] = end
        options['default_hooks.checkpoint.interval'] = end
        if pre_training:
            options['custom_hooks.1.interval'] = end  # of the pictures of reconstructions
        else:
            options['train_cfg.val_interval'] = end // 4
    checkpoints = {'fcmae': work_dir / f'fcmae/epoch_{plan.lengths["fcmae"]}.pth', 'checkpoint': plan.checkpoint}
    if start in checkpoints:
        init_cfg = dict(type='Pretrained', checkpoint=checkpoints[start], prefix='backbone.')
        options |= {f'model.backbone.init_cfg.{key}': value for key, value in init_cfg.items()}
        options |= PRETRAINED.get(task, {})
    command = [sys.executable, str(ROOT / 'tools/train.py'), str(CONFIGS[task]), '--work-dir', str(work_dir / name)]
    if pre_training and multiplies_bfloat16():
        command.append('--amp')
    command += ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]
    return Step(name, command, plan.seconds[task], (after,))


def all_steps(plan: Plan, work_dir: Path) -> list[Step]:
    """The job, in an order in which every step comes after those that it waits for."""
    make = [sys.executable, str(ROOT / 'tools/dataset_tools/make_toy_scenes.py'), '--out', str(plan.data_root)]
    make += [part for split, number in plan.scenes.items() for part in (f'--num-{split}', str(number))]
    trainings = [('fcmae', ''), *((task, start) for start in plan.starts.values() for task in METRICS)]
    return [
        Step('toy_scenes', make, plan.seconds['toy_scenes']),
        *(training(task, start, plan, work_dir) for task, start in trainings),
    ]


@dataclass
class Job:
    """Runs steps, ``lanes`` at a time, each with its share of the cores, and says how far they are.

    Args:
        steps: In an order in which every step comes after those that it waits for.
        work_dir: Where ``<name>.log`` has the output of a step.
        lanes: How many steps run at the same time.
    """

    steps: list[Step]
    work_dir: Path
    lanes: int
    _processes: list[subprocess.Popen] = field(default_factory=list)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Run all steps.

        Raises:
            SystemExit: If a command fails, with the end of its log. The others are stopped.
        """
        self._start = time.monotonic()
        futures: dict[str, Future] = {}
        with ThreadPoolExecutor(self.lanes) as pool:
            # First in, first out: no step keeps one that it waits for from starting.
            for step in self.steps:
                futures[step.name] = pool.submit(self._run, step, [futures[name] for name in step.after])
            try:
                for future in as_completed(futures.values()):
                    future.result()
            except BaseException:
                self._stopped.set()
                for process in self._processes:
                    process.terminate()
                raise

    def _run(self, step: Step, needed: list[Future]) -> None:
        for future in needed:
            future.result()
        if self._stopped.is_set():
            return
        number = self.steps.index(step) + 1
        print(f'[{number}/{len(self.steps)}] {step.name}: about {step.expected_seconds / 60:.1f} min', flush=True)
        log = self.work_dir / f'{step.name}.log'
        threads = max(1, num_cores() // self.lanes)
        start = shown = time.monotonic()
        with log.open('w') as file:
            process = subprocess.Popen(
                step.command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=ROOT,
                bufsize=1,
                env={'OMP_NUM_THREADS': str(threads), **os.environ},
            )
            self._processes.append(process)
            for line in process.stdout:
                file.write(line)
                progress = re.search(r'(Epoch|Iter)\(train\).*|(?<=toy scenes:) +\d+%.*', line)
                if progress and time.monotonic() - shown > SHOWN_SECONDS:
                    shown = time.monotonic()
                    print(f'    {step.name}: {short_progress(progress.group())}; {self._left()}', flush=True)
        if process.wait() != 0 and not self._stopped.is_set():
            tail = ''.join(log.read_text().splitlines(keepends=True)[-15:])
            raise SystemExit(f'{tail}\nerror: step {step.name} failed; its whole log is {log}')
        step.seconds = time.monotonic() - start

    def _left(self) -> str:
        left = expected_seconds(self.steps, self.lanes) - (time.monotonic() - self._start)
        return f'all steps: about {max(left, 0) / 60:.1f} min left'


def expected_seconds(steps: list[Step], lanes: int) -> float:
    """How long ``steps`` take, started in their order as soon as a lane is free and what they wait for is done."""
    free, ends = [0.0] * lanes, {}
    for step in steps:
        lane = free.index(min(free))
        ends[step.name] = max([free[lane], *(ends[name] for name in step.after)]) + step.expected_seconds
        free[lane] = ends[step.name]
    return max(ends.values())


def short_progress(line: str) -> str:
    """Of a line of MMEngine's log: where it is, ETA and loss."""
    parts = re.findall(r'\[.*?\](?:\[.*?\])?|eta: \S+|(?<!_)loss: \S+|images_per_s: \S+', line)
    return '  '.join(parts) if 'eta:' in line else line.strip()


def last_checkpoint(run_dir: Path) -> Path:
    return Path((run_dir / 'last_checkpoint').read_text().strip())


def draw_pictures(work_dir: Path, data_root: Path, starts: dict[str, str]) -> None:
    """Draw the pictures of the finished job and write them to its work dir."""
    images = sorted((data_root / 'val').iterdir())[:NUM_PICTURES]
    detectors = {title: work_dir / f'mask-rcnn_{start}' for title, start in starts.items()}
    segmenters = {title: work_dir / f'upernet_{start}' for title, start in starts.items()}
    epoch = last_checkpoint(work_dir / 'fcmae').stem
    pictures = {
        'overview.png': draw_overview(work_dir, data_root, images[:NUM_OVERVIEW]),
        'reconstruction.png': cv2.imread(str(work_dir / f'fcmae/reconstructions/{epoch}.png'))[..., ::-1],
        'detections.png': draw_detections(detectors, data_root, images),
        'segmentations.png': draw_segmentations(segmenters, data_root, images),
    }
    for name, picture in pictures.items():
        Image.fromarray(picture).save(work_dir / name, optimize=True)
    plot_curves(work_dir, starts).savefig(work_dir / 'curves.png', dpi=110)


def plot_curves(work_dir: Path, starts: dict[str, str]) -> Figure:
    """Plot the loss of the pre-training, and each score over the iterations from every start."""
    panels = [(task, name, key) for task, metrics in METRICS.items() for name, key in metrics.items()]
    figure = Figure(figsize=(3.2 * (1 + len(panels)), 2.8), layout='constrained')
    loss, *scores = figure.subplots(1, 1 + len(panels))
    loss.plot(*zip(*read_log(work_dir / 'fcmae').training['loss'], strict=True), color='tab:green')
    loss.set(title='FCMAE: loss', xlabel='iteration')
    for axes, (task, name, key) in zip(scores, panels, strict=True):
        for title, start in starts.items():
            steps, values = zip(*read_log(work_dir / f'{task}_{start}').validation[key], strict=True)
            axes.plot(steps, [value * SCALES[task] for value in values], marker='o', label=title)
        axes.set(title=f'{TITLES[task]}: {name}', xlabel='iteration', ylim=(0, None))
    scores[0].legend()
    for axes in (loss, *scores):
        axes.grid(alpha=0.3)
    return figure


def draw_overview(work_dir: Path, data_root: Path, images: list[Path]) -> np.ndarray:
    """Draw what goes in and what comes out: a row an image, a column a model of the finished job."""
    columns = {
        'image': [read_image(path) for path in images],
        **reconstruct(work_dir / 'fcmae', images),
        'Mask R-CNN': detect(work_dir / 'mask-rcnn_fcmae', images),
        'UperNet': segment(work_dir / 'upernet_fcmae', images),
        'ground truth': true_instances(data_root, images),
    }
    return side_by_side(columns)


def draw_detections(runs: dict[str, Path], data_root: Path, images: list[Path]) -> np.ndarray:
    """Draw ground truth and the detections of each run."""
    found = {title: detect(run_dir, images) for title, run_dir in runs.items()}
    truth = true_instances(data_root, images)
    return side_by_side({'image': map(read_image, images), 'ground truth': truth, **found})


def draw_segmentations(runs: dict[str, Path], data_root: Path, images: list[Path]) -> np.ndarray:
    """Draw ground truth and the label maps of each run."""
    found = {title: segment(run_dir, images) for title, run_dir in runs.items()}
    label_maps = (
        cv2.imread(str(data_root / 'semantic/val' / f'{path.stem}.png'), cv2.IMREAD_UNCHANGED) for path in images
    )
    truth = [tint(path, label_map) for path, label_map in zip(images, label_maps, strict=True)]
    return side_by_side({'image': map(read_image, images), 'ground truth': truth, **found})


def side_by_side(columns: dict[str, Iterable[np.ndarray]]) -> np.ndarray:
    """Return a contact sheet of columns with titles."""
    return contact_sheet(list(zip(*columns.values(), strict=True)), list(columns))


def reconstruct(run_dir: Path, images: list[Path]) -> dict[str, list[np.ndarray]]:
    """Return the images with patches removed, and FCMAE's reconstructions of them. The mask is always the same."""
    predictor = Predictor(CONFIGS['fcmae'], last_checkpoint(run_dir), 'cpu')
    results = list(predictor(images))
    return {
        'what FCMAE sees': [zoom(result.masked) for result in results],
        'reconstruction': [zoom(result.reconstruction) for result in results],
    }


def detect(run_dir: Path, images: list[Path], score_threshold: float = 0.4) -> list[np.ndarray]:
    """Return the images with the detections of a Mask R-CNN."""
    predictor = Predictor(CONFIGS['mask-rcnn'], last_checkpoint(run_dir), 'cpu', score_threshold)
    pictures = []
    for path, result in zip(images, predictor(images), strict=True):
        labels = result.labels.tolist()
        texts = [f'{CLASSES[label]} {score:.2f}' for label, score in zip(labels, result.scores, strict=True)]
        pictures.append(draw(path, result.masks, labels, texts))
    return pictures


def segment(run_dir: Path, images: list[Path]) -> list[np.ndarray]:
    """Return the images tinted by the label maps of a UperNet."""
    predictor = Predictor(CONFIGS['upernet'], last_checkpoint(run_dir), 'cpu')
    return [tint(path, result.label_map) for path, result in zip(images, predictor(images), strict=True)]


def true_instances(data_root: Path, images: list[Path]) -> list[np.ndarray]:
    """Return the images of the val split with their annotations."""
    from pycocotools.coco import COCO

    coco = COCO(str(data_root / 'annotations/instances_val.json'))
    ids = {info['file_name']: info['id'] for info in coco.dataset['images']}
    pictures = []
    for path in images:
        annotations = coco.imgToAnns[ids[path.name]]
        labels = [annotation['category_id'] - 1 for annotation in annotations]
        masks = [coco.annToMask(annotation).astype(bool) for annotation in annotations]
        pictures.append(draw(path, masks, labels, [CLASSES[label] for label in labels]))
    return pictures


def read_image(path: Path) -> np.ndarray:
    return zoom(cv2.imread(str(path))[..., ::-1])


def zoom(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC)


def tint(path: Path, label_map: np.ndarray) -> np.ndarray:
    return draw_label_map(read_image(path), enlarge(label_map))


def enlarge(label_map: np.ndarray) -> np.ndarray:
    return np.kron(label_map, np.ones((ZOOM, ZOOM), dtype=label_map.dtype))


def draw(path: Path, masks: list[np.ndarray], labels: list[int], texts: list[str]) -> np.ndarray:
    return draw_instances(read_image(path), np.array([enlarge(mask) for mask in masks]), labels, texts)


def write_report(work_dir: Path, plan: Plan, steps: list[Step], minutes: float) -> str:
    """Write ``report.md`` beside the pictures.

    Args:
        work_dir: That of the finished job.
        plan: Its plan.
        steps: Its steps.
        minutes: How long it took; less than the sum of its steps where two ran at a time.

    Returns:
        The tables of the report.
    """
    lines = [f'| | {" | ".join(plan.starts)} |', f'| ---{" | ---" * len(plan.starts)} |']
    for task, metrics in METRICS.items():
        for name, key in metrics.items():
            curves = [read_log(work_dir / f'{task}_{start}').validation[key] for start in plan.starts.values()]
            values = [curve[-1][1] * SCALES[task] for curve in curves]
            lines.append(f'| {TITLES[task]} {name} | ' + ' | '.join(f'{value:.1f}' for value in values) + ' |')
    lines += ['', '| step | time |', '| --- | --- |']
    lines += [f'| {step.name} | {step.seconds:.0f} s |' for step in steps]
    lines += [f'| all, two at a time where there are two cores | {minutes:.1f} min |']
    tables = '\n'.join(lines)
    pictures = '\n\n'.join(f'## {title}\n\n{text}\n\n![{title}]({file})' for file, (title, text) in PICTURES.items())
    about = (
        'FCMAE pre-training of ConvNeXt V2 atto on unlabelled toy scenes, then Mask R-CNN and UperNet, each trained '
        'from scratch and from the FCMAE checkpoint with the same budget and seed. Evaluated on the val split.'
    )
    if plan.checkpoint is not None:
        about += f' The last column starts from `{plan.checkpoint}`, which was pre-trained before.'
    precision = 'bfloat16' if multiplies_bfloat16() else 'float32'
    machine = f'pre-training in {precision}, the rest in float32; {describe_processor()}; torch {torch.__version__}'
    (work_dir / 'report.md').write_text(f'# Quickstart\n\n{about}\n\n{tables}\n\n{machine}\n\n{pictures}\n')
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--work-dir', type=Path, help='default: work_dirs/quickstart, with _quick and _seedN at the end for these'
    )
    parser.add_argument('--seed', type=int, default=0, help='of all trainings; the scenes stay the same (default: 0)')
    parser.add_argument('--quick', action='store_true', help='all steps in 3.5 minutes; nothing learns much')
    parser.add_argument(
        '--checkpoint',
        metavar='FILE',
        help='also start both trainings from this checkpoint of a longer FCMAE pre-training of atto, e.g. of '
        'configs/toy/fcmae_convnextv2-atto_90e_toy-scenes.py, or from hf://owner/name',
    )
    args = parser.parse_args()
    plan = quick_plan() if args.quick else whole_plan()
    plan.seed = args.seed
    plan.checkpoint = args.checkpoint
    if args.checkpoint and '://' not in args.checkpoint:  # the trainings run in another folder
        if not Path(args.checkpoint).is_file():
            parser.error(f'--checkpoint {args.checkpoint} does not exist')
        plan.checkpoint = str(Path(args.checkpoint).resolve())
    name = 'quickstart' + '_quick' * args.quick + f'_seed{args.seed}' * (args.seed != 0)
    work_dir = (args.work_dir or ROOT / f'work_dirs/{name}').resolve()
    work_dir.mkdir(parents=True, exist_ok=True)

    job = Job(all_steps(plan, work_dir), work_dir, lanes=min(2, num_cores()))
    expected = expected_seconds(job.steps, job.lanes) / 60
    print(f'{len(job.steps)} steps, about {expected:.0f} min; logs are in {work_dir}', flush=True)
    start = time.monotonic()
    job.run()
    minutes = (time.monotonic() - start) / 60

    print('drawing pictures', flush=True)
    with (
        (work_dir / 'pictures.log').open('w') as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        draw_pictures(work_dir, plan.data_root, plan.starts)
    tables = write_report(work_dir, plan, job.steps, minutes)
    print(f'\n{tables}\n\nreport, pictures and curves: {work_dir}/report.md')


if __name__ == '__main__':
    main()
