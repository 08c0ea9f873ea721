"""Where the time of an FCMAE pre-training step goes: milliseconds by kind of operation, backend by backend.

The steps are those of ``pretrain.py``, under torch's profiler: on a GPU the time of the kernels, on a CPU that of the
operators without the operators that they call.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity

from .measure import Table, environment, free
from .pretrain import PLAIN, Step, Workload, make_batch

# By the names of operators, without 'aten::'; the first pattern that matches counts.
KINDS = {
    'matrix products': r'(add|b|badd)?(mm|mv)_?$|baddbmm',
    'depthwise and other convolutions': r'.*conv',
    'GELU': r'gelu',
    'LayerNorm': r'native_layer_norm',
    'AdamW': r'_fused_adam',
    'sums and norms': r'sum|linalg_vector_norm|pow|mean|var',
    'copies, gather, scatter': r'copy_|index|fill_|zero|masked_fill|cat|where|gather',
    'element by element': r'add|mul|div|sub|rsub|sqrt',
    'other': r'',
}


def profile(
    sizes: Sequence[tuple[str, int]],
    backends: Sequence[str],
    workload: Workload,
    repeats: int,
    warmup: int,
    json: str | None = None,
) -> None:
    """Print a table with a row for each size and kind of operation, a column for each implementation.

    The arguments are those of ``pretrain.benchmark``.
    """
    names = [PLAIN, *backends]
    step = f'{workload.part}, {workload.dtype}, {workload.image_size} px'
    table = Table(['arch', 'batch', 'milliseconds', *names], json, environment=environment(workload.device), step=step)
    for arch, batch_size in sizes:
        weights, batch = make_batch(arch, batch_size, workload)
        times = {}
        for name in names:
            times[name] = milliseconds_by_kind(
                Step(name, arch, weights, batch, workload), repeats, warmup, workload.device
            )
            free(workload.device)
        for kind in KINDS:
            table.add(arch=arch, batch=batch_size, milliseconds=kind, **{name: times[name][kind] for name in names})
        totals = {name: float(times[name].total()) for name in names}
        table.add(arch=arch, batch=batch_size, milliseconds='all', **totals)


def milliseconds_by_kind(step: Callable[[], object], repeats: int, warmup: int, device: str) -> Counter[str]:
    """Return the milliseconds that one step spends in each kind of operation, the mean of ``repeats`` steps."""
    on_gpu = torch.device(device).type == 'cuda'
    for _ in range(warmup):
        step()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with torch.profiler.profile(activities=activities) as record:
        for _ in range(repeats):
            step()
    times: Counter[str] = Counter()
    for event in record.key_averages():
        if event.device_type != DeviceType.CPU:
            continue  # a kernel: its time is in that of its operator
        microseconds = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        times[kind_of(event.key)] += microseconds / 1000 / repeats
    return times


def kind_of(operator: str) -> str:
    """Return the kind of an operator such as 'aten::addmm', a key of ``KINDS``."""
    return next(kind for kind, names in KINDS.items() if re.match(names, operator.removeprefix('aten::')))
