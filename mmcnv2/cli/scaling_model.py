"""Predict what a pre-training step on many GPUs costs, and what bounds it (docs/measurements/scaling.md).

Computed exactly from the config: parameters, multiply-adds, the images of a step. Measured: images/s that a core
delivers (docs/how_to/data.md). All else is assumed, from data sheets or by judgement, and has an option. GPUs work in
data parallel, and the images of a step stay the same for any number of them. A step takes

    compute     6 operations per multiply-add (2 forward, 4 backward) at tflops * utilisation,
    + overhead  of each iteration of at most 64 images: starting kernels, optimizer, Python,
    + exposed   the part of the all-reduce that does not overlap with the backward pass of the last iteration,

or as long as reading its images takes. The all-reduce is a ring's: each GPU sends 2 (n - 1) / n times the gradients in
fp32, over NVLink in a node, between nodes over the network cards of all GPUs of a node together, and each of DDP's
buckets of 25 MiB takes 2 log2(n) latencies more.
"""

import argparse
import dataclasses

from mmcnv2.benchmarks.scaling import Cluster

EXAMPLES = (
    'mmcnv2::fcmae/fcmae_convnextv2-base_64xb64-amp-coslr-1600e_in1k.py --gpus 8 64 512',
    'mmcnv2::fcmae/fcmae_convnextv2-huge_64xb64-amp-coslr-1600e_in1k.py --utilisation 0.4 --picture scaling.png',
)
# Help of the options, one for each field of Cluster.
HELP = dict(
    tflops='peak of a GPU in bf16',
    utilisation='share of the peak that a step reaches while it computes',
    overhead_ms='of an iteration',
    nvlink_gbs='GB/s of a GPU in a node, each direction',
    nic_gbs='GB/s of the network card of a GPU, each direction',
    latency_us='of a message',
    gpus_per_node='that NVLink joins',
    cores_per_gpu='that read images',
    images_per_core='images/s that a core delivers',
    iteration='images of a GPU at most; more are accumulated',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('configs', nargs='+', help='pre-training recipes: paths, or mmcnv2::folder/NAME.py')
    parser.add_argument('--gpus', nargs='+', type=int, default=[8, 64, 512], help='a row each (default: 8 64 512)')
    for field in dataclasses.fields(Cluster):
        name, default = field.name, field.default
        option = f'--{name.replace("_", "-")}'
        parser.add_argument(
            option, type=type(default), default=default, metavar='X', help=f'{HELP[name]} (default: {default:g})'
        )
    parser.add_argument('--picture', metavar='FILE', help='draw the efficiency from 1 GPU to one image a GPU')


def run(args: argparse.Namespace) -> None:
    from mmcnv2.benchmarks.scaling_report import draw, report

    from .arguments import check_positive, read_config

    check_positive(args, 'gpus', *HELP)
    cluster = Cluster(**{name: getattr(args, name) for name in HELP})
    configs = {name: read_config(name) for name in args.configs}
    curves = {name: report(name, cfg, args.gpus, cluster) for name, cfg in configs.items()}
    if args.picture:
        draw(curves, args.picture)
