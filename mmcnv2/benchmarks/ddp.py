"""Time of a pre-training step of two processes beside one, and what scaling_model.py makes of its parts.

    python tools/analysis_tools/benchmark_ddp.py --batch-sizes 1 4 16

Two processes on this machine, joined by gloo, one thread each, fp32, take turns, step by step:

    alone       one process steps, the other waits
    both        both step, without exchanging gradients
    all-reduce  both exchange gradients, in DDP's buckets, and do nothing else
    DDP         both step with DistributedDataParallel

``efficiency`` is alone / DDP. ``predicted`` is the length of a DDP step by the model, from the measured parts: alone
or both, and of the all-reduce what does not hide behind two thirds of that.
"""

import argparse
import os
import socket
import statistics
import time
from collections.abc import Callable

import torch
import torch.distributed as dist
from measure import Table, environment
from scaling_model import BUCKET, exposed_ms, num_buckets
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mmcnv2.models.backbones.convnextv2 import ARCHITECTURES
from mmcnv2.registry import MODELS

COLUMNS = ['images a process', 'alone (ms)', 'both (ms)', 'all-reduce (ms)', 'DDP (ms)', 'efficiency']
COLUMNS += ['predicted from alone (ms)', 'error', 'predicted from both (ms)', 'error from both']
PROCESSES = 2


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--arch', choices=ARCHITECTURES, default='atto')
    parser.add_argument('--batch-sizes', nargs='+', type=int, default=[1, 4, 16], help='images of a process')
    parser.add_argument('--image-size', type=int, default=224)
    parser.add_argument('--repeats', type=int, default=11, help='timed turns, after two that warm up')
    parser.add_argument('--json', help='write rows and environment to this file')
    args = parser.parse_args()
    if min(args.repeats, *args.batch_sizes) < 1:
        parser.error(f'--repeats and --batch-sizes must be at least 1, got {args.repeats} and {args.batch_sizes}')
    return args


class Loss(nn.Module):
    """FCMAE whose forward pass is the loss, as DistributedDataParallel wants it."""

    def __init__(self, arch: str) -> None:
        super().__init__()
        self.model = MODELS.build(dict(type='mmcnv2.FCMAE', backbone=dict(type='mmcnv2.ConvNeXtV2', arch=arch)))

    def forward(self, images: Tensor) -> Tensor:
        return self.model.loss(images)['loss']


def make_step(model: nn.Module, images: Tensor) -> Callable[[], None]:
    """A training step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        model(images).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def contenders(args: argparse.Namespace, rank: int, batch_size: int) -> dict[str, Callable[[], object]]:
    """What takes turns."""
    torch.manual_seed(0)
    model = Loss(args.arch)
    images = torch.randn(batch_size, 3, args.image_size, args.image_size)
    gradients = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    plain = make_step(model, images)
    return {
        'alone (ms)': plain if rank == 0 else lambda: None,
        'both (ms)': plain,
        'all-reduce (ms)': lambda: [dist.all_reduce(bucket) for bucket in gradients.split(BUCKET // 4)],
        'DDP (ms)': make_step(DistributedDataParallel(model), images),
    }


def milliseconds(steps: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median of each, from when both processes begin to when both are done."""
    times = {name: [] for name in steps}
    for _ in range(2 + repeats):
        for name, step in steps.items():
            dist.barrier()
            start = time.perf_counter()
            step()
            dist.barrier()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values[2:]) for name, values in times.items()}


def row(batch_size: int, parameters: int, ms: dict[str, float]) -> dict[str, float]:
    """What is measured and what the model says."""
    result = {'images a process': batch_size, **ms, 'efficiency': ms['alone (ms)'] / ms['DDP (ms)']}
    for source, error in (('alone', 'error'), ('both', 'error from both')):
        compute = ms[f'{source} (ms)']
        predicted = compute + exposed_ms(ms['all-reduce (ms)'], num_buckets(parameters), 2 / 3 * compute)
        result |= {f'predicted from {source} (ms)': predicted, error: f'{predicted / ms["DDP (ms)"] - 1:+.0%}'}
    return result


def work(rank: int, args: argparse.Namespace, port: int) -> None:
    """One of the processes; the first one prints."""
    os.environ |= dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    dist.init_process_group('gloo', rank=rank, world_size=PROCESSES)
    torch.set_num_threads(1)
    parameters = sum(parameter.numel() for parameter in Loss(args.arch).parameters())
    table = Table(COLUMNS, args.json, environment=environment('cpu'), arch=args.arch) if rank == 0 else None
    for batch_size in args.batch_sizes:
        ms = milliseconds(contenders(args, rank, batch_size), args.repeats)
        if table:
            table.add(**row(batch_size, parameters, ms))
    dist.destroy_process_group()


def main() -> None:
    args = parse_args()
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(work, (args, port), nprocs=PROCESSES)


if __name__ == '__main__':
    main()
