"""What the benchmarks share: timing side by side, memory, and tables that grow row by row."""

import gc
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Hashable, MutableMapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from mmcnv2.utils.errors import InputError
from mmcnv2.utils.processor import describe_processor, multiplies_bfloat16

Key = TypeVar('Key', bound=Hashable)

COMPILED = '-compiled'  # the end of the name of an implementation that torch.compile compiles
COMPILER = 'inductor'  # the backend of torch.compile
DOES_NOT_FIT = 'does not fit'
DTYPES = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)


def warn_of_slow_types(device: str, dtypes: Sequence[str]) -> None:
    """Say on stderr if the processor only emulates bfloat16.

    Raises:
        InputError: If float16 is to be measured on a CPU.
    """
    if torch.device(device).type == 'cpu' and 'fp16' in dtypes:
        raise InputError('--dtype fp16 is for GPUs: take bf16 or fp32 on a CPU')
    if torch.device(device).type == 'cpu' and 'bf16' in dtypes and not multiplies_bfloat16():
        print(f'bf16 is emulated on {describe_processor()}: its speed there says nothing', file=sys.stderr)


def autocast(device: str, dtype: str) -> torch.autocast:
    """Return the context in which forward runs; ``dtype`` is a key of ``DTYPES``."""
    return torch.autocast(torch.device(device).type, DTYPES[dtype], enabled=dtype != 'fp32')


def as_named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function or module, compiled for its shapes alone if the implementation's name ends in '-compiled'."""
    return torch.compile(function, dynamic=False, backend=COMPILER) if name.endswith(COMPILED) else function


def seconds_per_step(
    steps: MutableMapping[Key, Callable[[], Any]], repeats: int, warmup: int, device: str
) -> dict[Key, float]:
    """Return the median seconds of each step, by its key.

    The steps take turns, so that a drift of the machine's speed affects all of them. One for which there is too little
    memory beside the others is removed from ``steps``, so that the others have it, and has no seconds.

    Args:
        steps: What to time.
        repeats: How many calls of each are timed.
        warmup: How many calls of each come before, untimed.
        device: Where they compute; it is waited for.
    """
    times: dict[Key, list[float]] = {name: [] for name in steps}
    for i in range(warmup + repeats):
        for name in [*steps]:
            _synchronize(device)
            start = time.perf_counter()
            try:
                steps[name]()
            except torch.OutOfMemoryError:
                del steps[name], times[name]
                free(device)
                continue
            _synchronize(device)
            if i >= warmup:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def memory(step: Callable[[], Any], model: nn.Module, device: str) -> float:
    """Return the memory of a training step in MiB.

    On a GPU it is the peak, weights and optimizer included, so no other model may be alive. On a CPU, which reports
    no peak, it is the size of the values that autograd keeps from forward for backward.
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
    """Return to the system what deleted models held, and forget what was compiled for them."""
    if 'torch._dynamo' in sys.modules:  # compiled code is kept, and torch gives up after a number of models
        torch.compiler.reset()
    gc.collect()
    if torch.device(device).type == 'cuda':
        torch.cuda.empty_cache()


def environment(device: str) -> dict[str, str]:
    """Return machine and versions, which belong beside every table."""
    on_gpu = torch.device(device).type == 'cuda'
    name = torch.cuda.get_device_name(device) if on_gpu else describe_processor()
    return dict(device=name, python=platform.python_version(), torch=torch.__version__)


class Table:
    """A markdown table that is printed row by row and written as JSON.

    Args:
        columns: Names of the columns; every row has them as keys.
        path: JSON file, rewritten after every row; None: no file.
        **about: Facts printed above the table and written beside its rows, e.g. the environment.
    """

    def __init__(self, columns: list[str], path: str | None, **about: Any) -> None:
        self.columns, self.path, self.about = columns, path, about
        self.rows: list[dict[str, Any]] = []
        for key, value in about.items():
            print(f'{key}: {value}')
        print(f'\n| {" | ".join(columns)} |\n|{" --- |" * len(columns)}', flush=True)

    def add(self, **row: Any) -> None:
        """Print a row and write the file."""
        self.rows.append(row)
        print(f'| {" | ".join(_text(row[column]) for column in self.columns)} |', flush=True)
        if self.path:
            with open(self.path, 'w') as file:
                json.dump(dict(**self.about, rows=self.rows), file, indent=2)


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f'{value:.3g}' if value < 100 else f'{value:.0f}'


def _synchronize(device: str) -> None:
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)
