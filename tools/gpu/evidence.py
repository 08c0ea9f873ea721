"""FCMAE tiny on images of one's own, then UperNet and Mask R-CNN from it and from random weights.

python tools/gpu/evidence.py --data DIR --work-dir DIR --json FILE [--seconds N]

DIR is laid out as data/nuclei (docs/measurements/evidence.md): train/, val/, semantic/, annotations/. Half of the time
is for the pre-training. A run that is there is not made again.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from mmengine.config import Config

from mmcnv2.benchmarks.measure import Table, environment
from mmcnv2.resuming.checkpoints import newest_whole_checkpoint
from mmcnv2.utils.run_log import read_log

ROOT = Path(__file__).resolve().parents[2]
ARCH = 'tiny'
TASKS = {'upernet': 'mIoU', 'mask-rcnn': 'coco/segm_mAP'}
CHANNELS = [96, 192, 384, 768]
ITERATIONS = 600  # of a fine-tuning
PRECISION = dict(type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic')


def pretraining(data: Path, folder: Path) -> Path:
    """Write the config of the pre-training, and return its path."""
    cfg = Config.fromfile(ROOT / 'configs/evidence/fcmae_convnextv2-atto_nuclei.py')
    cfg.model.backbone.arch = ARCH
    cfg.model.decoder_embed_dims = 512
    cfg.train_dataloader.dataset.data_root = str(data / 'train')
    cfg.train_dataloader.num_workers = 8
    cfg.optim_wrapper.update(type='AmpOptimWrapper', dtype='bfloat16', loss_scale=1.0)
    file = folder / 'fcmae.py'
    cfg.dump(file)
    return file


def finetuning(task: str, data: Path, folder: Path, checkpoint: str | None) -> Path:
    """Write the config of a fine-tuning from a checkpoint of FCMAE, or random weights, and return its path."""
    cfg = Config.fromfile(ROOT / f'configs/evidence/{task}_convnextv2-atto_nuclei.py')
    cfg.model.backbone.arch = ARCH
    for part in ('neck', 'decode_head'):
        if part in cfg.model:
            used = cfg.model.backbone.get('out_indices', range(4))
            cfg.model[part].in_channels = [CHANNELS[i] for i in used]
    if 'auxiliary_head' in cfg.model:
        cfg.model.auxiliary_head.in_channels = CHANNELS[2]
    if checkpoint:
        cfg.model.backbone.init_cfg = dict(type='Pretrained', prefix='backbone.', checkpoint=checkpoint)
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[key].dataset.data_root = f'{data}/'
    cfg.train_dataloader.num_workers = 8
    cfg.train_cfg.update(max_iters=ITERATIONS, val_interval=ITERATIONS)
    cfg.default_hooks.checkpoint.interval = ITERATIONS
    cfg.optim_wrapper.update(PRECISION)
    file = folder / f'{task}_{"fcmae" if checkpoint else "random"}.py'
    cfg.dump(file)
    return file


def train(config: Path, seconds: float) -> bool:
    """Train until the end, or stop after some seconds with a checkpoint; return whether it came to its end."""
    options = ['--resume', '--work-dir', str(config.with_suffix(''))]
    process = subprocess.Popen([sys.executable, '-m', 'mmcnv2', 'train', str(config), *options])
    try:
        code = process.wait(max(seconds, 1))
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait()
        return False
    if code:
        sys.exit(f'{config.stem}: the training has ended with exit code {code}')
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True)
    parser.add_argument('--work-dir', type=Path, required=True)
    parser.add_argument('--seconds', type=float, default=float('inf'))
    parser.add_argument('--json', metavar='FILE')
    args = parser.parse_args()
    end = time.monotonic() + args.seconds
    folder, data = args.work_dir.resolve(), args.data.resolve()
    columns = ['run', 'whole', 'iterations', 'metric', 'value']
    table = Table(columns, args.json, environment=environment('cuda'), arch=ARCH)
    config = pretraining(data, folder)
    is_whole = train(config, args.seconds / 2)
    log = read_log(config.with_suffix(''))
    loss = log.training['loss'][-1]
    table.add(run='fcmae', whole=is_whole, iterations=loss[0], metric='loss', value=loss[1])
    checkpoint = newest_whole_checkpoint(str(config.with_suffix('')))
    for task, metric in TASKS.items():
        for start in (checkpoint, None):
            if end - time.monotonic() < 20:
                return
            config = finetuning(task, data, folder, start)
            is_whole = train(config, end - time.monotonic() - 10)
            curve = read_log(config.with_suffix('')).validation.get(metric, [(0, float('nan'))])
            table.add(run=config.stem, whole=is_whole, iterations=curve[-1][0], metric=metric, value=curve[-1][1])


if __name__ == '__main__':
    main()
