"""Where the time of an FCMAE pre-training step goes: milliseconds by kind of operation, backend by backend.

    python tools/analysis_tools/profile_pretrain.py --archs atto tiny --batch-sizes 16 4 --backends dense torch

The steps are those of ``benchmark_pretrain.py``, under torch's profiler: on a GPU the time of the kernels, on a CPU
that of the operators without what they call.
"""

import argparse
import re
from collections import Counter

import torch
from benchmark_pretrain import PLAIN, Step, make_batch, parse_args
from measure import Table, environment, free
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

# By the names of operators, without 'aten::'; the first that fits counts.
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


def kind_of(operator: str) -> str:
    """The kind of an operator such as 'aten::addmm'."""
    return next(kind for kind, names in KINDS.items() if re.match(names, operator.removeprefix('aten::')))


def milliseconds_by_kind(step: Step, args: argparse.Namespace) -> Counter[str]:
    """Of one step, the mean of ``--repeats``."""
    on_gpu = torch.device(args.device).type == 'cuda'
    for _ in range(args.warmup):
        step()
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as record:
        for _ in range(args.repeats):
            step()
    times: Counter[str] = Counter()
    for event in record.key_averages():
        if event.device_type != DeviceType.CPU:
            continue  # a kernel, whose time its operator has
        microseconds = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        times[kind_of(event.key)] += microseconds / 1000 / args.repeats
    return times


def main() -> None:
    args = parse_args(__doc__)
    names = [PLAIN, *args.backends]
    about = dict(environment=environment(args.device), step=f'{args.part}, {args.dtype}, {args.image_size} px')
    table = Table(['arch', 'batch', 'milliseconds', *names], args.json, **about)
    for arch, batch_size in zip(args.archs, args.batch_sizes, strict=True):
        weights, batch = make_batch(arch, batch_size, args)
        times = {}
        for name in names:
            times[name] = milliseconds_by_kind(Step(name, arch, weights, batch, args), args)
            free(args.device)
        for kind in KINDS:
            table.add(arch=arch, batch=batch_size, milliseconds=kind, **{name: times[name][kind] for name in names})
        totals = {name: float(times[name].total()) for name in names}
        table.add(arch=arch, batch=batch_size, milliseconds='all', **totals)


if __name__ == '__main__':
    main()
