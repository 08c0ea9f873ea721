"""What the benchmarks share: timing side by side, memory, and tables that grow row by row."""

import argparse
import gc
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

DTYPES = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that every benchmark has."""
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--dtype', choices=DTYPES, default='fp32', help='bf16 and fp16 run under autocast')
    parser.add_argument('--repeats', type=int, default=7, help='timed steps of each contender, after --warmup')
    parser.add_argument('--warmup', type=int, default=2)
    parser.add_argument('--json', help='write rows and environment to this file, after every row')


def check_arguments(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends the program with a message if the arguments cannot be measured."""
    if args.repeats < 1 or args.warmup < 0:
        parser.error(f'--repeats must be at least 1 and --warmup at least 0, got {args.repeats} and {args.warmup}')
    if torch.device(args.device).type == 'cuda' and not torch.cuda.is_available():
        parser.error(f'--device {args.device}: torch {torch.__version__} sees no GPU; use --device cpu')


def autocast(device: str, dtype: str) -> torch.autocast:
    """The context in which forward runs."""
    return torch.autocast(torch.device(device).type, DTYPES[dtype], enabled=dtype != 'fp32')


def seconds_per_step(steps: dict[str, Callable[[], Any]], repeats: int, warmup: int, device: str) -> dict[str, float]:
    """Median seconds of each step. The contenders take turns, so that a drift of the machine's speed hits all."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(warmup + repeats):
        for name, step in steps.items():
            _synchronise(device)
            start = time.perf_counter()
            step()
            _synchronise(device)
            if i >= warmup:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def memory(step: Callable[[], Any], model: nn.Module, device: str) -> float:
    """MiB. On a GPU the peak of a step, weights and optimiser included; call it while no other model is there.

    On a CPU, which reports no peak of its own, the values that autograd keeps from forward for backward.
    """
    if torch.device(device).type == 'cuda':
        step()
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device) / 2**20
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that its address is not given out again
        return tensor

    total = 0.0

    def unpack(tensor: Tensor) -> Tensor:
        nonlocal total
        total = total or sum(t.untyped_storage().nbytes() for t in kept.values()) / 2**20
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, unpack):
        step()
    return total


def free(device: str) -> None:
    """Gives back what dead models held."""
    gc.collect()
    if torch.device(device).type == 'cuda':
        torch.cuda.empty_cache()


def environment(device: str) -> dict[str, str]:
    """Machine and versions, as they belong beside every table."""
    on_gpu = torch.device(device).type == 'cuda'
    name = torch.cuda.get_device_name(device) if on_gpu else f'{_cpu()}, {torch.get_num_threads()} thread(s)'
    return dict(device=name, python=platform.python_version(), torch=torch.__version__)


class Table:
    """A markdown table printed row by row, kept as JSON.

    Args:
        columns: Names of the columns; every row has them as keys.
        path: JSON file, written anew after every row; None for none.
        **about: What else goes into the file, e.g. the environment.
    """

    def __init__(self, columns: list[str], path: str | None, **about: Any) -> None:
        self.columns, self.path, self.about = columns, path, about
        self.rows: list[dict[str, Any]] = []
        for key, value in about.items():
            print(f'{key}: {value}')
        print(f'\n| {" | ".join(columns)} |\n|{" --- |" * len(columns)}', flush=True)

    def add(self, **row: Any) -> None:
        self.rows.append(row)
        print(f'| {" | ".join(_text(row[column]) for column in self.columns)} |', flush=True)
        if self.path:
            with open(self.path, 'w') as file:
                json.dump(dict(**self.about, rows=self.rows), file, indent=2)


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f'{value:.3g}' if value < 100 else f'{value:.0f}'


def _cpu() -> str:
    try:
        with open('/proc/cpuinfo') as file:
            return next(line.split(':')[1].strip() for line in file if line.startswith('model name'))
    except (OSError, StopIteration):
        return platform.machine()


def _synchronise(device: str) -> None:
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)
