"""A model of a pre-training step on many GPUs: what it costs, and what bounds it.

The help of ``mmcnv2 scaling-model`` states the model in words, docs/measurements/scaling.md discusses it. This module
is plain arithmetic and imports no torch; ``scaling_report.py`` applies it to recipes.
"""

import math
from dataclasses import dataclass

BUCKET = 25 * 2**20
BYTES = dict(weights=4, gradients=4, buckets=4, adamw=8)  # of a parameter, in fp32, with DDP


@dataclass(frozen=True)
class Cluster:
    """What the model assumes: data sheets of NVIDIA's H100 SXM and DGX H100, or a judgement where it says so."""

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
    """A step: images of a GPU, and milliseconds.

    Args:
        batch: Images of a GPU.
        compute: Of the GPU.
        overhead: Of all iterations.
        all_reduce: Of the gradients.
        exposed: The part of ``all_reduce`` that does not overlap with the backward pass.
        reading: How long the processors take to read its images.
    """

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
        return max(parts, key=parts.__getitem__)


def all_reduce_ms(parameters: int, gpus: int, cluster: Cluster) -> float:
    """Return the milliseconds of an all-reduce of all gradients in fp32."""
    between_nodes = cluster.gpus_per_node * cluster.nic_gbs if gpus > cluster.gpus_per_node else math.inf
    bandwidth = min(cluster.nvlink_gbs, between_nodes)
    latency = num_buckets(parameters) * 2 * math.ceil(math.log2(gpus)) * cluster.latency_us * 1e-3
    return 2 * (gpus - 1) / gpus * 4 * parameters / (bandwidth * 1e6) + latency


def num_buckets(parameters: int) -> int:
    """Return the number of DDP's buckets; it may have one more, as its first is smaller."""
    return math.ceil(4 * parameters / BUCKET)


def exposed_ms(all_reduce: float, buckets: int, backward: float) -> float:
    """Return the part of an all-reduce that does not overlap with a backward pass.

    It is at least the last bucket, which is ready only when the backward pass ends.
    """
    return max(all_reduce / buckets, all_reduce - backward)


def predict(parameters: int, macs: int, images: int, gpus: int, cluster: Cluster) -> Step:
    """Return a step of a model.

    Args:
        parameters: Of the model.
        macs: Multiply-adds of an image, forward.
        images: Of a step, on all GPUs together.
        gpus: Number of GPUs.
        cluster: What they can do.
    """
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
    """Return the GB of weights, gradients and optimizer on a GPU with DDP, ZeRO-1 and FSDP.

    ZeRO-1 divides the state of the optimizer between the GPUs, FSDP everything.
    """
    ddp = sum(BYTES.values())
    fsdp = ddp - BYTES['buckets']
    zero1 = ddp - BYTES['adamw'] * (1 - 1 / gpus)
    gb = 1e-9 * parameters
    return gb * ddp, gb * zero1, gb * fsdp / gpus
