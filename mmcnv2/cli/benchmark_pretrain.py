"""Measure images per second and memory of an FCMAE pre-training step, backend by backend.

A step is forward, backward and AdamW. The baseline, ``plain``, is the dense formulation of the paper written plainly
(mmcnv2/benchmarks/plain_fcmae.py), channels-last, eager. Every backend has the same weights, images and masks as the
baseline, and must give the same loss before it is timed. Results: docs/measurements/benchmarks.md.
"""

import argparse

EXAMPLES = (
    '--archs atto tiny --batch-sizes 16 4 --part encoder',
    '--archs base large --batch-sizes 128 --dtype bf16 --device cuda',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .benchmark_arguments import add_pretraining_arguments

    add_pretraining_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from mmcnv2.benchmarks.pretrain import benchmark

    from .benchmark_arguments import read_pretraining_arguments

    sizes, workload = read_pretraining_arguments(args)
    benchmark(sizes, args.backends, workload, args.repeats, args.warmup, args.json)
