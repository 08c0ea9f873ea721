"""Train a real recipe on rendered data, kill it, resume it: speed, memory, loss, loss scale, and where it went on.

python tools/gpu/recipe.py fcmae|mask-rcnn|upernet|finetune --work-dir DIR --json FILE [--seconds N] [--compile]
python tools/gpu/recipe.py fcmae --exact ...    a killed run must end bit for bit as one that was not stopped

Data are toy scenes with the sizes that the recipe expects. What differs from the recipe is only that: data, classes,
no weights to start from, and how often it saves and logs.
"""

import argparse
import importlib.util
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from mmcnv2.benchmarks.measure import Table, environment
from mmcnv2.toy_scenes import CLASSES, write_toy_scenes
from mmcnv2.utils.run_log import read_log

ROOT = Path(__file__).resolve().parents[2]
LARGE = dict(log=5, checkpoint=50)  # iterations
EXACT = dict(log=1, checkpoint=10)
SMALL = dict(log=1, checkpoint=3)
NUM_CLASSES = 1000
RECIPES = {
    'fcmae': 'fcmae/fcmae_convnextv2-{size}_64xb64-amp-coslr-1600e_in1k.py',
    'mask-rcnn': 'mask_rcnn/mask-rcnn_convnextv2-{size}-fcmae_fpn_8xb4-amp-lsj-3x_coco.py',
    'upernet': 'upernet/upernet_convnextv2-{size}-fcmae_8xb2-amp-160k_ade20k-512x512.py',
    'finetune': 'imagenet/convnextv2-{size}-fcmae_32xb32-amp-coslr-{epochs}e_in1k.py',
}


def make_data(folder: Path, name: str, is_small: bool) -> Path:
    """Render the images of a recipe, unless they are there, and return their folder."""
    side, count = (64, 16) if is_small else {'mask-rcnn': (640, 96), 'upernet': (512, 96)}.get(name, (256, 640))
    data = folder.parent / f'toy_scenes_{side}_{name}'
    labelled = count if name in ('mask-rcnn', 'upernet') else 8
    write_toy_scenes(
        str(data), num_unlabelled=8 if labelled > 8 else count, num_train=labelled, num_val=8, image_size=side
    )
    if name == 'finetune':  # folders of as many classes as the recipe's, or as images
        for number, image in enumerate(sorted((data / 'unlabelled').glob('*.jpg'))):
            target = data / 'classes' / f'{number % NUM_CLASSES:04d}' / image.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                os.link(image, target)
    return data


def adapt(cfg: Config, name: str, data: Path, args: Any) -> None:
    """Change the config of a recipe in place: data, classes, what is logged and saved."""
    every = SMALL if args.small else EXACT if args.exact else LARGE
    cfg.default_hooks.logger.interval = every['log']
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=every['checkpoint'], max_keep_ckpts=2)
    loader = cfg.train_dataloader
    if name == 'fcmae':
        loader.dataset.data_root = str(data / 'unlabelled')
    elif name == 'finetune':
        loader.dataset = dict(type='CustomDataset', data_root=str(data / 'classes'), pipeline=loader.dataset.pipeline)
        num_classes = len(list((data / 'classes').iterdir()))
        cfg.model.head.num_classes = cfg.model.data_preprocessor.num_classes = num_classes
    elif name == 'mask-rcnn':
        loader.dataset.update(
            data_root=f'{data}/',
            ann_file='annotations/instances_train.json',
            data_prefix=dict(img='train/'),
            metainfo=dict(classes=CLASSES),
        )
        for head in (cfg.model.roi_head.bbox_head, cfg.model.roi_head.mask_head):
            head.num_classes = len(CLASSES)
    else:  # the labels 0 to 6 are among the 150; 0 is ignored
        loader.dataset.data_root = str(data)
        loader.dataset.data_prefix = dict(img_path='train', seg_map_path='semantic/train')
    if name != 'fcmae':
        cfg.model.backbone.init_cfg = None
        for key in [key for key in cfg if key.startswith(('val_', 'test_', 'tta_'))]:
            cfg[key] = None
        cfg.pop('test_pipeline', None)
        cfg.train_cfg.pop('val_interval', None)
    if args.small:
        make_small(cfg, name, args.device)
    if args.exact:
        cfg.randomness = dict(seed=0, deterministic=True)
        cfg.env_cfg.cudnn_benchmark = False
        cfg.train_cfg.max_epochs = 3 if not args.small else 1
    if args.compile:
        cfg.compile = True


def make_small(cfg: Config, name: str, device: str) -> None:
    """Make the images 64 pixels (Mask R-CNN: 128) and the batches two images."""
    side = 128 if name == 'mask-rcnn' else 64
    sizes = dict(
        LoadRandomResizedCrop=dict(size=side),
        RandomResizedCrop=dict(scale=side),
        RandomResize=dict(scale=(side, side)),
        RandomCrop=dict(crop_size=(side, side)),
    )
    for transform in cfg.train_dataloader.dataset.pipeline:
        transform.update(sizes.get(transform.type, {}))
    if name == 'mask-rcnn':
        cfg.model.data_preprocessor.batch_augments[0].size = (side, side)
        cfg.model.train_cfg.rpn_proposal.max_per_img = 50
        cfg.model.train_cfg.rcnn.sampler.num = 32
    if name == 'upernet':
        cfg.model.data_preprocessor.size = (side, side)
    cfg.train_dataloader.update(batch_size=2, num_workers=1)
    if device == 'cpu':  # without mixed precision, which is a GPU's in these recipes
        cfg.optim_wrapper.type = 'OptimWrapper'
        for key in ('dtype', 'loss_scale'):
            cfg.optim_wrapper.pop(key, None)


def prepare(name: str, args: Any) -> Path:
    """Write the config of a recipe, with its data, to the work dir, and return its path."""
    size, epochs = ('atto', 600) if args.small else ('base', 100)
    recipe = RECIPES[name].format(size=size, epochs=epochs)
    cfg = Config.fromfile(ROOT / 'configs' / recipe)
    adapt(cfg, name, make_data(args.work_dir.resolve(), name, args.small), args)
    file = args.work_dir.resolve() / f'{name}.py'
    cfg.dump(file)
    return file


class Training:
    """``mmcnv2 train`` in a process of its own.

    Args:
        config: Path.
        work_dir: Of the training.
        options: More arguments.
    """

    def __init__(self, config: Path, work_dir: Path, *options: str) -> None:
        self.work_dir = work_dir
        command = [sys.executable, '-m', 'mmcnv2', 'train', str(config), '--work-dir', str(work_dir), *options]
        # What deterministic products of matrices on a GPU need.
        environment_ = {'CUBLAS_WORKSPACE_CONFIG': ':4096:8', **os.environ}
        self.lines_before = self.lines()
        self.process = subprocess.Popen(command, env=environment_)

    def lines(self) -> int:
        """Return how many lines of training the logs of all runs have."""
        logs = self.work_dir.glob('*/*.log')
        return sum(log.read_text(errors='replace').count('(train)') for log in logs)

    def wait_for(self, is_time: Callable[[], bool]) -> None:
        """Wait until it is time.

        Raises:
            SystemExit: If the training ends before.
        """
        while not is_time():
            if self.process.poll() is not None:
                sys.exit(f'the training has ended too early, with exit code {self.process.returncode}')
            time.sleep(0.1)

    def stop(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait()


def checkpoints(work_dir: Path) -> list[int]:
    """Return the iterations of the checkpoints that are there."""
    return sorted(int(file.stem.removeprefix('iter_')) for file in work_dir.glob('iter_*.pth'))


def train_and_kill(config: Path, work_dir: Path, seconds: float) -> None:
    """Train for some seconds from the first line of log, at least to a checkpoint and a line after it; SIGKILL."""
    training = Training(config, work_dir)
    training.wait_for(lambda: training.lines() > 0)
    begin = time.monotonic()
    training.wait_for(lambda: time.monotonic() - begin >= seconds and bool(checkpoints(work_dir)))
    lines = training.lines()
    training.wait_for(lambda: training.lines() > lines)
    training.stop(signal.SIGKILL)


def resumed_at(work_dir: Path) -> int:
    """Return the iteration at which the newest run says that it goes on."""
    newest = max(work_dir.glob('*/*.log'))
    found = re.search(r'resumed epoch.*iter: (\d+)', newest.read_text(errors='replace'))
    return int(found[1]) if found else 0


def loss_scale(work_dir: Path) -> float | str:
    """Return the scale of the loss in the newest checkpoint; '-' if its training has none."""
    file = work_dir / f'iter_{checkpoints(work_dir)[-1]}.pth'
    optimizer = torch.load(file, map_location='cpu', weights_only=False)['optimizer']
    return optimizer.get('loss_scaler', {}).get('scale', '-')


def measure(name: str, args: Any) -> dict[str, Any]:
    """Return the row of a recipe. Errors are those of ``Training``."""
    config, work_dir = prepare(name, args), args.work_dir.resolve() / f'{name}_run'
    train_and_kill(config, work_dir, args.seconds)
    expected = checkpoints(work_dir)[-1]
    scale = loss_scale(work_dir)
    log = read_log(work_dir).training
    training = Training(config, work_dir, '--resume')
    training.wait_for(lambda: training.lines() >= training.lines_before + 2)
    code = training.stop(signal.SIGTERM)
    at = resumed_at(work_dir)
    losses = [loss for _, loss in read_log(work_dir).training['loss']]
    # Losses that are not finite are left out there.
    is_finite = len(losses) == len(read_log(work_dir).training['time'])
    # The first lines are slow: kernels are chosen, compiled, memory is asked for.
    times = [value for _, value in log['time']]
    images = [value for _, value in log.get('images_per_s', [])]
    return {
        'recipe': name,
        'iterations': log['loss'][-1][0],
        'iterations/s': 1 / statistics.median(times[len(times) // 2 :]),
        'images/s': statistics.median(images[len(images) // 2 :]) if images else '-',
        'MB': max(value for _, value in log['memory']) if 'memory' in log else '-',
        'first loss': losses[0],
        'last loss': losses[-1],
        'finite': is_finite,
        'loss scale': scale,
        'resumed at': at,
        'passed': at == expected and is_finite and code == 128 + signal.SIGTERM,
    }


def exact(name: str, args: Any) -> dict[str, Any]:
    """Return how the last checkpoint of a killed training differs from that of one that was not stopped."""
    config = prepare(name, args)
    whole, killed = (args.work_dir.resolve() / f'{name}_{kind}' for kind in ('whole', 'killed'))
    if code := Training(config, whole).process.wait():
        sys.exit(f'the training has ended with exit code {code}')
    train_and_kill(config, killed, 0)
    if code := Training(config, killed, '--resume').process.wait():
        sys.exit(f'the resumed training has ended with exit code {code}')
    last = checkpoints(whole)[-1]
    states = [
        torch.load(run / f'iter_{last}.pth', map_location='cpu', weights_only=False)['state_dict']
        for run in (whole, killed)
    ]
    different = [key for key in states[0] if not torch.equal(states[0][key], states[1][key])]
    return {
        'recipe': name,
        'iterations': last,
        'resumed at': resumed_at(killed),
        'tensors': len(states[0]),
        'different': len(different),
        'passed': not different and resumed_at(killed) > 0,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``prepare`` needs."""
    parser.add_argument('--device', default='cuda', choices=['cuda', 'cpu'])
    parser.add_argument('--work-dir', type=Path, required=True)
    parser.add_argument('--small', action='store_true', help='atto on images of 64 pixels, for a CPU')
    parser.add_argument('--json', metavar='FILE')
    parser.set_defaults(exact=False, compile=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('recipe', choices=[*RECIPES])
    add_arguments(parser)
    parser.add_argument('--seconds', type=float, default=0, help='of training, until it is killed')
    parser.add_argument('--exact', action='store_true')
    parser.add_argument('--compile', action='store_true', help='with compile=True')
    args = parser.parse_args()
    args.work_dir = args.work_dir / ('exact' if args.exact else 'compiled' if args.compile else 'eager')
    args.work_dir.mkdir(parents=True, exist_ok=True)
    for run in args.work_dir.glob(f'{args.recipe}_*'):  # of an earlier call
        shutil.rmtree(run)
    if args.small:
        args.seconds = 0
        if args.recipe == 'mask-rcnn' and importlib.util.find_spec('mmcv._ext') is None:
            print('mmcv has no operators here, which Mask R-CNN needs: nothing is trained')
            return
    row = (exact if args.exact else measure)(args.recipe, args)
    Table([*row], args.json, environment=environment(args.device)).add(**row)
    sys.exit(0 if row['passed'] else 'not as expected: see the row')


if __name__ == '__main__':
    main()
