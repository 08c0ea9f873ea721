"""Train a few iterations in one process under torchrun: the process group, and what belongs to it, work.

ddp, fsdp: FCMAE; sync-bn: UperNet, whose heads have SyncBN; auto-scale-lr: DDP with the learning rate for the batch.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from typing import Any

from mmengine.config import Config
from recipe import ROOT, add_arguments, prepare

from mmcnv2.benchmarks.measure import Table, environment
from mmcnv2.utils.run_log import read_log


def train(kind: str, args: Any) -> dict[str, Any]:
    """Train, and return the row. Raises SystemExit if the training fails."""
    args.work_dir = args.work_dir / kind
    args.work_dir.mkdir(parents=True, exist_ok=True)
    config = prepare('upernet' if kind == 'sync-bn' else 'fcmae', args)
    cfg = Config.fromfile(config)
    cfg.param_scheduler = None
    cfg.env_cfg.dist_cfg = dict(backend='nccl' if args.device == 'cuda' else 'gloo')
    cfg.train_cfg.update({key: most for key, most in (('max_epochs', 1), ('max_iters', 8)) if key in cfg.train_cfg})
    if kind == 'fsdp':
        cfg.runner_type, cfg.strategy = 'FlexibleRunner', dict(type='mmcnv2.FSDPStrategy')
    cfg.dump(config)
    run = args.work_dir / 'run'
    shutil.rmtree(run, ignore_errors=True)
    options = ['--auto-scale-lr'] if kind == 'auto-scale-lr' else []
    command = ['bash', str(ROOT / 'tools/dist_train.sh'), str(config), '1', '--work-dir', str(run.resolve()), *options]
    done = subprocess.run(command, env={**os.environ, 'PYTHON': sys.executable})
    if done.returncode:
        sys.exit(f'the training has ended with exit code {done.returncode}')
    log = read_log(run).training
    expected = cfg.optim_wrapper.optimizer.lr
    if kind == 'auto-scale-lr':
        expected *= cfg.train_dataloader.batch_size / cfg.auto_scale_lr.base_batch_size
    text = max(run.glob('*/*.log')).read_text()
    # That of the first group, which decay by layers lowers in UperNet; base_lr is not scaled with the batch.
    lr = log['base_lr' if kind == 'sync-bn' else 'lr'][-1][1]
    return {
        'kind': kind,
        'backend': cfg.env_cfg.dist_cfg.backend,
        'iterations': len(log['loss']),
        'last loss': log['loss'][-1][1],
        'lr': lr,
        'expected lr': expected,
        'distributed': 'Distributed launcher: pytorch' in text and re.search('GPU number: 1', text) is not None,
        'passed': abs(lr / expected - 1) < 1e-3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('kind', choices=['ddp', 'fsdp', 'sync-bn', 'auto-scale-lr'])
    add_arguments(parser)
    args = parser.parse_args()
    args.small = True
    row = train(args.kind, args)
    Table([*row], args.json, environment=environment(args.device)).add(**row)
    sys.exit(0 if row['passed'] else 'the learning rate is not as expected')


if __name__ == '__main__':
    main()
