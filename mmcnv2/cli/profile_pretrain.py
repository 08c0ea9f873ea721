"""Show where the time of an FCMAE pre-training step goes: milliseconds by kind of operation, backend by backend.

The steps are those of benchmark-pretrain, under torch's profiler: on a GPU the time of the kernels, on a CPU that of
the operators without the operators that they call.
"""

import argparse

EXAMPLES = (
    '--archs atto tiny --batch-sizes 16 4 --backends dense torch',
    '--archs base --batch-sizes 128 --dtype bf16 --device cuda --json profile.json',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .benchmark_arguments import add_pretraining_arguments

    add_pretraining_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from mmcnv2.benchmarks.profiling import profile

    from .benchmark_arguments import read_pretraining_arguments

    sizes, (workload,) = read_pretraining_arguments(args)
    profile(sizes, args.backends, workload, args.repeats, args.warmup, args.json)
