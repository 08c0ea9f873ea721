"""A model of a pre-training step on many GPUs: what it costs, and what bounds it (docs/scaling.md).

    python tools/analysis_tools/scaling_model.py configs/fcmae/fcmae_convnextv2-base_64xb64-amp-coslr-1600e_in1k.py

Computed exactly from the config: parameters, multiply-adds, the batch of a step. Measured: images/s that a core
delivers (docs/data.md). All else is assumed, from data sheets or by judgement, and has an option; GPUs work in data
parallel, and the batch of a step stays the same for any number of them. A step takes

    compute     6 operations per multiply-add (2 forward, 4 backward) at tflops * utilisation,
    + overhead  of each iteration of at most 64 images: starting kernels, optimiser, Python,
    + the part of the all-reduce that does not hide behind the backward pass of the last iteration,

or as long as reading its images takes. The all-reduce is a ring's: each GPU sends 2 (n - 1) / n times the gradients in
fp32, over NVLink in a node, between nodes over the network cards of all GPUs of a node together, and each of DDP's
buckets of 25 MiB takes 2 log2(n) latencies more.
"""

import argparse
import dataclasses
import math
import sys
from dataclasses import dataclass
from pathlib import Path

from get_flops import build_model, count_macs, image_size
from matplotlib.figure import Figure
from measure import Table
from mmengine.config import Config

from mmcnv2.models.sparse import PATCH_SIZE, random_mask
from mmcnv2.utils.errors import ConfigError

BUCKET = 25 * 2**20
BYTES = dict(weights=4, gradients=4, buckets=4, adamw=8)  # of a parameter, in fp32, with DDP
COLUMNS = ['GPUs', 'images a GPU', 'compute (ms)', 'overhead (ms)', 'all-reduce (ms)', 'exposed (ms)']
COLUMNS += ['efficiency fed', 'images/s a GPU', 'cores a GPU', 'efficiency', 'bound']
COLUMNS += ['DDP (GB)', 'ZeRO-1 (GB)', 'FSDP (GB)']


@dataclass(frozen=True)
class Cluster:
    """What the model assumes: NVIDIA's data sheets of H100 SXM and DGX H100, or judgement where it says so."""

    tflops: float = 989.0  # H100 SXM, bf16 without sparsity
    utilisation: float = 0.3  # judgement, not measured
    overhead_ms: float = 5.0  # judgement, not measured
    nvlink_gbs: float = 450.0  # each direction of a GPU; the data sheet's 900 GB/s are both
    nic_gbs: float = 50.0  # one 400 Gb/s card for each GPU
    latency_us: float = 5.0  # judgement, not measured
    gpus_per_node: int = 8
    cores_per_gpu: float = 14.0  # DGX H100: two processors of 56 cores for 8 GPUs
    images_per_core: float = 525.0  # measured: 500 x 375 pixels, crops of 224
    iteration: int = 64  # images of a GPU, as in the recipes; more are accumulated


@dataclass(frozen=True)
class Step:
    """Milliseconds of a step: ``exposed`` of ``all_reduce`` is not hidden, ``reading`` is how long its images take."""

    batch: float
    compute: float
    overhead: float
    all_reduce: float
    exposed: float
    reading: float

    @property
    def gpu(self) -> float:
        """Length of a step that never waits for images."""
        return self.compute + self.overhead + self.exposed

    @property
    def efficiency(self) -> float:
        """Share of a step in which the GPU computes."""
        return self.compute / max(self.gpu, self.reading)

    @property
    def bound(self) -> str:
        """What takes most of a step."""
        if self.reading > self.gpu:
            return 'reading'
        parts = {'compute': self.compute, 'overhead': self.overhead, 'all-reduce': self.exposed}
        return max(parts, key=parts.get)


def all_reduce_ms(parameters: int, gpus: int, cluster: Cluster) -> float:
    """Of all gradients in fp32."""
    between_nodes = cluster.gpus_per_node * cluster.nic_gbs if gpus > cluster.gpus_per_node else math.inf
    bandwidth = min(cluster.nvlink_gbs, between_nodes)
    latency = num_buckets(parameters) * 2 * math.ceil(math.log2(gpus)) * cluster.latency_us * 1e-3
    return 2 * (gpus - 1) / gpus * 4 * parameters / (bandwidth * 1e6) + latency


def num_buckets(parameters: int) -> int:
    """DDP's, or one less: it starts with a small one."""
    return math.ceil(4 * parameters / BUCKET)


def exposed_ms(all_reduce: float, buckets: int, backward: float) -> float:
    """What of an all-reduce does not hide behind a backward pass: at least the last bucket, ready when that ends."""
    return max(all_reduce / buckets, all_reduce - backward)


def predict(parameters: int, macs: int, images: int, gpus: int, cluster: Cluster) -> Step:
    """A step of a model with ``macs`` multiply-adds an image, on ``images``, on all GPUs together."""
    batch = images / gpus
    iterations = math.ceil(batch / cluster.iteration)
    compute = batch * 6 * macs / (cluster.tflops * 1e9 * cluster.utilisation)
    all_reduce = all_reduce_ms(parameters, gpus, cluster)
    return Step(
        batch=batch,
        compute=compute,
        overhead=iterations * cluster.overhead_ms,
        all_reduce=all_reduce,
        exposed=exposed_ms(all_reduce, num_buckets(parameters), 2 / 3 * compute / iterations),
        reading=1e3 * batch / (cluster.cores_per_gpu * cluster.images_per_core),
    )


def gigabytes(parameters: int, gpus: int) -> tuple[float, float, float]:
    """Weights, gradients, optimiser of a GPU: with DDP, with a sharded optimiser (ZeRO-1), with all sharded (FSDP)."""
    ddp = sum(BYTES.values())
    fsdp = ddp - BYTES['buckets']
    return tuple(1e-9 * parameters * n for n in (ddp, ddp - BYTES['adamw'] * (1 - 1 / gpus), fsdp / gpus))


def count(path: str) -> tuple[int, int, int]:
    """Parameters, multiply-adds of an image with the recipe's mask, and images of a step of a config."""
    cfg = Config.fromfile(path)
    if cfg.get('model', {}).get('type') not in ('FCMAE', 'mmcnv2.FCMAE'):
        raise ConfigError(f'{path} is no pre-training recipe: its model must be of type FCMAE')
    model = build_model(cfg)
    height, width = image_size(cfg, None)
    mask = random_mask(1, (height // PATCH_SIZE, width // PATCH_SIZE), model.mask_ratio)
    macs = count_macs(model, (height, width), mask, 'auto')['']
    images = cfg.auto_scale_lr.base_batch_size
    return sum(p.numel() for p in model.parameters()), macs, images


def report(path: str, gpus: list[int], cluster: Cluster) -> dict[int, float]:
    """Print the table of a config; efficiency by number of GPUs, from one to one image a GPU."""
    parameters, macs, images = count(path)
    model = f'{parameters / 1e6:.1f} M parameters, {parameters / 250e3:.0f} MB of gradients, '
    model += f'{macs / 1e9:.2f} G multiply-adds an image, {images} images a step'
    table = Table(COLUMNS, None, config=path, model=model)
    for n in gpus:
        step = predict(parameters, macs, images, n, cluster)
        rate = 1e3 * step.batch / step.gpu
        times = [step.compute, step.overhead, step.all_reduce, step.exposed]
        share = [step.compute / step.gpu, rate, rate / cluster.images_per_core, step.efficiency, step.bound]
        table.add(**dict(zip(COLUMNS, [n, step.batch, *times, *share, *gigabytes(parameters, n)], strict=True)))
    powers = [2**i for i in range(images.bit_length())]
    steps = {n: predict(parameters, macs, images, n, cluster) for n in powers}
    most = max((n for n, step in steps.items() if step.efficiency >= 1 / 2), default=0)
    print(f'\nat least half of a step computes up to {most} GPUs (0: never)\n')
    return {n: step.efficiency for n, step in steps.items()}


def draw(curves: dict[str, dict[int, float]], path: str) -> None:
    """Efficiency against number of GPUs, a curve for each config."""
    figure = Figure(figsize=(7, 4), layout='constrained')
    axes = figure.subplots()
    for name, curve in curves.items():
        axes.plot(curve.keys(), curve.values(), marker='.', label=Path(name).stem)
    axes.set_xscale('log', base=2)
    axes.set(xlabel='GPUs', ylabel='share of a step that computes', ylim=(0, 1))
    figure.legend(loc='outside upper center')
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+', help='pre-training recipes')
    parser.add_argument('--gpus', nargs='+', type=int, default=[8, 64, 512])
    fields = [field.name for field in dataclasses.fields(Cluster)]
    for name in fields:
        default = getattr(Cluster, name)
        parser.add_argument(f'--{name.replace("_", "-")}', type=type(default), default=default)
    parser.add_argument('--picture', metavar='FILE', help='draw the efficiency from 1 GPU to one image a GPU')
    args = parser.parse_args()
    if min(*args.gpus, *(getattr(args, name) for name in fields)) <= 0:
        parser.error('all numbers must be positive')
    cluster = Cluster(**{name: getattr(args, name) for name in fields})
    try:
        curves = {path: report(path, args.gpus, cluster) for path in args.configs}
    except (ConfigError, OSError) as error:
        sys.exit(f'error: {error}')
    if args.picture:
        draw(curves, args.picture)


if __name__ == '__main__':
    main()
