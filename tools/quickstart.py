"""The main job on the built-in toy scenes: pre-train, transfer to Mask R-CNN and UperNet, compare, report.

python tools/quickstart.py [--work-dir work_dirs/quickstart]

Each training is a run of tools/train.py; its log, checkpoints and config are in the work dir.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from PIL import Image

from mmcnv2.models.weights.reading import read_state_dict
from mmcnv2.registry import MODELS
from mmcnv2.toy_scenes import CLASSES
from mmcnv2.utils.processor import describe_processor, multiplies_bfloat16
from mmcnv2.visualization import contact_sheet, draw_instances, draw_label_map, draw_reconstructions

ROOT = Path(__file__).resolve().parents[1]
DATA_ROOT = ROOT / 'data/toy_scenes'
CONFIGS = {
    name: ROOT / f'configs/toy/{name}_convnextv2-atto_toy-scenes.py' for name in ('fcmae', 'mask-rcnn', 'upernet')
}
METRICS = {
    'mask-rcnn': {'box AP': 'coco/bbox_mAP', 'mask AP': 'coco/segm_mAP'},
    'upernet': {'mIoU': 'mIoU'},
}
SHOWN_SECONDS = 15  # a line of progress at least this often
ZOOM = 2  # of the pictures
NUM_PICTURES = 6
NUM_OVERVIEW = 2  # of these, in the overview


@dataclass
class Step:
    """One command of the job. ``expected_seconds``: measured on two cores, for the ETA only."""

    name: str
    command: list[str]
    expected_seconds: float
    seconds: float = 0.0


def training(name: str, task: str, work_dir: Path, expected_seconds: float, checkpoint: Path | None = None) -> Step:
    """A run of tools/train.py, with the backbone from ``checkpoint`` if there is one.

    The pre-training is in bfloat16 where the processor multiplies in it.
    """
    command = [sys.executable, str(ROOT / 'tools/train.py'), str(CONFIGS[task]), '--work-dir', str(work_dir / name)]
    if task == 'fcmae' and multiplies_bfloat16():
        command.append('--amp')
    if checkpoint:
        init_cfg = dict(type='Pretrained', checkpoint=checkpoint, prefix='backbone.')
        command += ['--cfg-options', *(f'model.backbone.init_cfg.{key}={value}' for key, value in init_cfg.items())]
    return Step(name, command, expected_seconds)


def run(step: Step, number: int, steps: list[Step], work_dir: Path) -> None:
    """Runs a step, its output in ``<work dir>/<name>.log``, and shows the lines with a loss or an ETA.

    Raises:
        SystemExit: If the command fails, with the end of its log.
    """
    later = sum(other.expected_seconds for other in steps[number:])
    print(
        f'[{number}/{len(steps)}] {step.name}: about {step.expected_seconds / 60:.1f} min, '
        f'all steps {(later + step.expected_seconds) / 60:.1f} min',
        flush=True,
    )
    log = work_dir / f'{step.name}.log'
    start = shown = time.monotonic()
    with log.open('w') as file:
        process = subprocess.Popen(
            step.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, bufsize=1
        )
        for line in process.stdout:
            file.write(line)
            progress = re.search(r'(Epoch|Iter)\(train\).*|toy scenes: +\d+%.*', line)
            if progress and time.monotonic() - shown > SHOWN_SECONDS:
                shown = time.monotonic()
                print(f'    {short_progress(progress.group())}; steps after this: {later / 60:.1f} min', flush=True)
    if process.wait() != 0:
        tail = ''.join(log.read_text().splitlines(keepends=True)[-15:])
        sys.exit(f'{tail}\nerror: step {step.name} failed; its whole log is {log}')
    step.seconds = time.monotonic() - start


def short_progress(line: str) -> str:
    """Of a line of MMEngine's log: where it is, ETA and loss."""
    parts = re.findall(r'\[.*?\](?:\[.*?\])?|eta: \S+|(?<!_)loss: \S+|images_per_s: \S+', line)
    return '  '.join(parts) if 'eta:' in line else line.strip()


def last_scalar(run_dir: Path, key: str) -> float:
    """The last value of ``key`` that the newest run in ``run_dir`` has logged."""
    scalars = max(run_dir.glob('*/vis_data/scalars.json'), key=lambda path: path.stat().st_mtime)
    return [record[key] for record in map(json.loads, scalars.read_text().splitlines()) if key in record][-1]


def last_checkpoint(run_dir: Path) -> Path:
    return Path((run_dir / 'last_checkpoint').read_text().strip())


def draw_pictures(work_dir: Path) -> None:
    """Draw the pictures of the finished job and write them to its work dir."""
    images = sorted((DATA_ROOT / 'val').iterdir())[:NUM_PICTURES]
    starts = {'from scratch': 'scratch', 'from FCMAE': 'fcmae'}
    detectors = {title: work_dir / f'mask-rcnn_{start}' for title, start in starts.items()}
    segmenters = {title: work_dir / f'upernet_{start}' for title, start in starts.items()}
    epoch = last_checkpoint(work_dir / 'fcmae').stem
    pictures = {
        'overview.png': draw_overview(work_dir, images[:NUM_OVERVIEW]),
        'reconstruction.png': cv2.imread(str(work_dir / f'fcmae/reconstructions/{epoch}.png'))[..., ::-1],
        'detections.png': draw_detections(detectors, images),
        'segmentations.png': draw_segmentations(segmenters, images),
    }
    for name, picture in pictures.items():
        Image.fromarray(picture).save(work_dir / name, optimize=True)


def draw_overview(work_dir: Path, images: list[Path]) -> np.ndarray:
    """Draw what goes in and what comes out: a row an image, a column a model of the finished job."""
    columns = {
        'image': [read_image(path) for path in images],
        **reconstruct(work_dir / 'fcmae', images),
        'Mask R-CNN': detect(work_dir / 'mask-rcnn_fcmae', images),
        'UperNet': segment(work_dir / 'upernet_fcmae', images),
        'ground truth': true_instances(images),
    }
    return side_by_side(columns)


def draw_detections(runs: dict[str, Path], images: list[Path]) -> np.ndarray:
    """Draw ground truth and the detections of each run."""
    found = {title: detect(run_dir, images) for title, run_dir in runs.items()}
    return side_by_side({'image': map(read_image, images), 'ground truth': true_instances(images), **found})


def draw_segmentations(runs: dict[str, Path], images: list[Path]) -> np.ndarray:
    """Draw ground truth and the label maps of each run."""
    found = {title: segment(run_dir, images) for title, run_dir in runs.items()}
    label_maps = (
        cv2.imread(str(DATA_ROOT / 'semantic/val' / f'{path.stem}.png'), cv2.IMREAD_UNCHANGED) for path in images
    )
    truth = [tint(path, label_map) for path, label_map in zip(images, label_maps, strict=True)]
    return side_by_side({'image': map(read_image, images), 'ground truth': truth, **found})


def side_by_side(columns: dict[str, Iterable[np.ndarray]]) -> np.ndarray:
    """Return a contact sheet of columns with titles."""
    return contact_sheet(list(zip(*columns.values(), strict=True)), list(columns))


def reconstruct(run_dir: Path, images: list[Path]) -> dict[str, list[np.ndarray]]:
    """Return the images with patches removed, and FCMAE's reconstructions of them. The masks are always the same."""
    # The scope is named because mmdet's and mmseg's init_ functions leave theirs behind.
    model = MODELS.build(dict(Config.fromfile(CONFIGS['fcmae']).model, _scope_='mmcnv2'))
    model.load_state_dict(read_state_dict(str(last_checkpoint(run_dir))))
    torch.manual_seed(0)
    pixels = [torch.from_numpy(cv2.imread(str(path))[..., ::-1].copy()).permute(2, 0, 1) for path in images]
    _, masked, reconstructed = draw_reconstructions(model, pixels).swapaxes(0, 1)
    return {'what FCMAE sees': list(map(zoom, masked)), 'reconstruction': list(map(zoom, reconstructed))}


def detect(run_dir: Path, images: list[Path], score_threshold: float = 0.4) -> list[np.ndarray]:
    """Return the images with the detections of a Mask R-CNN."""
    from mmdet.apis import inference_detector, init_detector

    model = init_detector(str(CONFIGS['mask-rcnn']), str(last_checkpoint(run_dir)), device='cpu')
    pictures = []
    for path in images:
        found = inference_detector(model, str(path)).pred_instances
        found = found[found.scores > score_threshold]
        labels = found.labels.tolist()
        texts = [f'{CLASSES[i]} {score:.2f}' for i, score in zip(labels, found.scores.tolist(), strict=True)]
        pictures.append(draw(path, found.masks.numpy(), labels, texts))
    return pictures


def segment(run_dir: Path, images: list[Path]) -> list[np.ndarray]:
    """Return the images tinted by the label maps of a UperNet."""
    from mmseg.apis import inference_model, init_model

    model = init_model(str(CONFIGS['upernet']), str(last_checkpoint(run_dir)), device='cpu')
    found = (inference_model(model, str(path)).pred_sem_seg.data[0].numpy().astype(np.uint8) for path in images)
    return [tint(path, label_map) for path, label_map in zip(images, found, strict=True)]


def true_instances(images: list[Path]) -> list[np.ndarray]:
    """Return the images of the val split with their annotations."""
    from pycocotools.coco import COCO

    coco = COCO(str(DATA_ROOT / 'annotations/instances_val.json'))
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


def write_report(work_dir: Path, steps: list[Step]) -> str:
    """Writes ``report.md`` beside the pictures and returns its tables."""
    lines = ['| | from scratch | from FCMAE |', '| --- | --- | --- |']
    for task, metrics in METRICS.items():
        for name, key in metrics.items():
            values = [last_scalar(work_dir / f'{task}_{start}', key) for start in ('scratch', 'fcmae')]
            # mmdet reports AP as a fraction, mmseg mIoU in percent.
            scale = 100 if task == 'mask-rcnn' else 1
            lines.append(f'| {task} {name} | ' + ' | '.join(f'{value * scale:.1f}' for value in values) + ' |')
    lines += ['', '| step | time |', '| --- | --- |']
    lines += [f'| {step.name} | {step.seconds:.0f} s |' for step in steps]
    lines += [f'| all | {sum(step.seconds for step in steps) / 60:.1f} min |']
    tables = '\n'.join(lines)
    pictures = '\n\n'.join(
        f'## {title}\n\n![{title}]({file})'
        for title, file in (
            ('What goes in, what comes out', 'overview.png'),
            ('Input, masked, reconstruction', 'reconstruction.png'),
            ('Detections', 'detections.png'),
            ('Segmentations', 'segmentations.png'),
        )
    )
    about = (
        'FCMAE pre-training of ConvNeXt V2 atto on unlabelled toy scenes, then Mask R-CNN and UperNet, each trained '
        'from scratch and from the FCMAE checkpoint with the same budget and seed. Evaluated on the val split.'
    )
    precision = 'bfloat16' if multiplies_bfloat16() else 'float32'
    machine = f'pre-training in {precision}, the rest in float32; {describe_processor()}; torch {torch.__version__}'
    (work_dir / 'report.md').write_text(f'# Quickstart\n\n{about}\n\n{tables}\n\n{machine}\n\n{pictures}\n')
    return tables


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs/quickstart')
    work_dir = parser.parse_args().work_dir.resolve()
    work_dir.mkdir(parents=True, exist_ok=True)

    max_epochs = Config.fromfile(CONFIGS['fcmae']).max_epochs
    checkpoint = work_dir / f'fcmae/epoch_{max_epochs}.pth'
    make_data = [sys.executable, str(ROOT / 'tools/dataset_tools/make_toy_scenes.py'), '--out', str(DATA_ROOT)]
    steps = [
        Step('toy_scenes', make_data, 50),
        training('fcmae', 'fcmae', work_dir, 190),
        training('mask-rcnn_scratch', 'mask-rcnn', work_dir, 115),
        training('mask-rcnn_fcmae', 'mask-rcnn', work_dir, 115, checkpoint),
        training('upernet_scratch', 'upernet', work_dir, 75),
        training('upernet_fcmae', 'upernet', work_dir, 75, checkpoint),
    ]
    for number, step in enumerate(steps, start=1):
        run(step, number, steps, work_dir)

    print('drawing pictures', flush=True)
    draw_pictures(work_dir)
    print(f'\n{write_report(work_dir, steps)}\n\nreport and pictures: {work_dir}/report.md')


if __name__ == '__main__':
    main()
