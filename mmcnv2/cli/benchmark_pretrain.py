"""Measure images per second and memory of an FCMAE pre-training step, backend by backend.

A step is forward, backward and AdamW. The baseline, ``plain``, is the dense formulation of the paper written plainly
(mmcnv2/benchmarks/plain_fcmae.py), channels-last, eager. Every backend has the same weights, images and masks as the
baseline, and must give the same loss before it is timed. ``--backends plain-compiled`` is the baseline under
torch.compile, ``spark`` mmpretrain's SparK with the same backbone (needs mmpretrain). What does not fit into memory
costs its own row, as does what is not installed. 'of product' is the speed of the step's multiply-adds as a share of
that of a matrix product of 2048 x 2048 in the same type. Results: docs/measurements/benchmarks.md.
"""

import argparse

EXAMPLES = (
    '--archs atto tiny --batch-sizes 16 4 --backends torch spark --dtype fp32 bf16 --repeats 11',
    '--archs base large --batch-sizes 128 --dtype bf16 --device cuda',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .benchmark_arguments import add_pretraining_arguments

    add_pretraining_arguments(parser, several_dtypes=True)


def run(args: argparse.Namespace) -> None:
    from mmcnv2.benchmarks.pretrain import PEERS, SPARK, benchmark
    from mmcnv2.utils.errors import InputError

    from .benchmark_arguments import read_pretraining_arguments

    sizes, workloads = read_pretraining_arguments(args, peers=PEERS)
    if SPARK in args.backends and args.part != 'whole':
        raise InputError(f'--backends {SPARK} needs --part whole: its encoder alone is not measured')
    benchmark(sizes, args.backends, workloads, args.repeats, args.warmup, args.json)
