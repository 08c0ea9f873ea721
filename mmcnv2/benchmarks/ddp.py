"""Time of a pre-training step of two processes beside one, and what ``scaling.py`` predicts from its parts.

The help of ``mmcnv2 benchmark-ddp`` says what the columns are.
"""

import os
import socket
import statistics
import time
from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mmcnv2.registry import MODELS

from .measure import Table, environment
from .scaling import BUCKET, exposed_ms, num_buckets

COLUMNS = ['images a process', 'alone (ms)', 'both (ms)', 'all-reduce (ms)', 'DDP (ms)', 'efficiency']
COLUMNS += ['predicted from alone (ms)', 'error', 'predicted from both (ms)', 'error from both']
PROCESSES = 2


class Loss(nn.Module):
    """FCMAE whose forward pass is the loss, as DistributedDataParallel wants it."""

    def __init__(self, arch: str) -> None:
        super().__init__()
        self.model = MODELS.build(dict(type='mmcnv2.FCMAE', backbone=dict(type='mmcnv2.ConvNeXtV2', arch=arch)))

    def forward(self, images: Tensor) -> Tensor:
        return self.model.loss(images)['loss']


def make_step(model: nn.Module, images: Tensor) -> Callable[[], None]:
    """Return a training step of a model whose output is the loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        model(images).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def make_steps(arch: str, images: Tensor, rank: int) -> dict[str, Callable[[], object]]:
    """Return what takes turns in the process ``rank``, by the name of its column."""
    torch.manual_seed(0)
    model = Loss(arch)
    gradients = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    plain = make_step(model, images)
    return {
        'alone (ms)': plain if rank == 0 else lambda: None,
        'both (ms)': plain,
        'all-reduce (ms)': lambda: [dist.all_reduce(bucket) for bucket in gradients.split(BUCKET // 4)],
        'DDP (ms)': make_step(DistributedDataParallel(model), images),
    }


def milliseconds(steps: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Return the median of each step, from when both processes begin to when both are done."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(2 + repeats):
        for name, step in steps.items():
            dist.barrier()
            start = time.perf_counter()
            step()
            dist.barrier()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values[2:]) for name, values in times.items()}


def row(batch_size: int, parameters: int, ms: dict[str, float]) -> dict[str, float | str]:
    """Return a row of the table.

    ``efficiency`` is alone / DDP. ``predicted`` is the length of a DDP step by the model, from the measured parts:
    alone or both, and the part of the all-reduce that does not overlap with two thirds of that.
    """
    result: dict[str, float | str] = {
        'images a process': batch_size,
        **ms,
        'efficiency': ms['alone (ms)'] / ms['DDP (ms)'],
    }
    for source, error in (('alone', 'error'), ('both', 'error from both')):
        compute = ms[f'{source} (ms)']
        predicted = compute + exposed_ms(ms['all-reduce (ms)'], num_buckets(parameters), 2 / 3 * compute)
        result |= {f'predicted from {source} (ms)': predicted, error: f'{predicted / ms["DDP (ms)"] - 1:+.0%}'}
    return result


def work(
    rank: int, port: int, arch: str, batch_sizes: Sequence[int], image_size: int, repeats: int, json: str | None
) -> None:
    """Do the part of one process; the first one prints."""
    os.environ |= dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    dist.init_process_group('gloo', rank=rank, world_size=PROCESSES)
    torch.set_num_threads(1)
    parameters = sum(parameter.numel() for parameter in Loss(arch).parameters())
    table = Table(COLUMNS, json, environment=environment('cpu'), arch=arch) if rank == 0 else None
    for batch_size in batch_sizes:
        images = torch.randn(batch_size, 3, image_size, image_size)
        ms = milliseconds(make_steps(arch, images, rank), repeats)
        if table:
            table.add(**row(batch_size, parameters, ms))
    dist.destroy_process_group()


def benchmark(arch: str, batch_sizes: Sequence[int], image_size: int, repeats: int, json: str | None = None) -> None:
    """Print a table with a row for each batch size.

    Args:
        arch: A key of ``ARCHITECTURES``.
        batch_sizes: Images of a process.
        image_size: Side in pixels, a multiple of 32.
        repeats: Timed turns, after two that warm up.
        json: File to write rows and environment to.
    """
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    arguments = (port, arch, batch_sizes, image_size, repeats, json)
    torch.multiprocessing.spawn(work, arguments, nprocs=PROCESSES)
