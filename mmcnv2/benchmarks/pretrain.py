"""Images per second and memory of an FCMAE pre-training step (forward, backward, AdamW), backend by backend.

The baseline, ``plain``, is the dense formulation of the paper written plainly (``plain_fcmae.py``), channels-last,
eager. Every backend has the same weights, images and masks as the baseline, and must give the same loss before it is
timed. ``plain-compiled`` is the baseline compiled by torch.compile. ``spark`` is mmpretrain's SparK with the same
backbone: it masks, encodes and decodes in its own way. What does not fit into memory, or is not installed, costs its
own row.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mmcnv2.models.backbones.convnextv2 import ARCHITECTURES
from mmcnv2.models.sparse import PATCH_SIZE, random_mask
from mmcnv2.registry import MODELS

from . import plain_fcmae
from .flops import count_macs
from .measure import (
    COMPILED,
    DOES_NOT_FIT,
    DTYPES,
    Table,
    as_named,
    autocast,
    environment,
    free,
    memory,
    seconds_per_step,
)

PLAIN = 'plain'
PLAIN_COMPILED = PLAIN + COMPILED
SPARK = 'spark'
PEERS = (PLAIN_COMPILED, SPARK)  # besides the values of sparse_backend
PRODUCT = 2048  # rows and columns of the matrix product whose speed is the measure
TOLERANCE = dict(fp32=1e-4, bf16=3e-2, fp16=3e-2)  # relative, of the loss
COLUMNS = ['arch', 'batch', 'dtype', 'backend', 'images/s', 'speed-up', 'of product', 'MiB', 'memory']


@dataclass(frozen=True)
class Workload:
    """What a step computes, and where.

    Args:
        part: 'encoder' or 'whole', encoder and decoder with the loss.
        image_size: Side in pixels, a multiple of 32.
        mask_ratio: Share of removed patches, in (0, 1).
        device: For torch, e.g. 'cpu'.
        dtype: A key of ``measure.DTYPES``.
    """

    part: str
    image_size: int
    mask_ratio: float
    device: str
    dtype: str


def benchmark(
    sizes: Sequence[tuple[str, int]],
    backends: Sequence[str],
    workloads: Sequence[Workload],
    repeats: int,
    warmup: int,
    json: str | None = None,
) -> None:
    """Print a table with a row for each size, type and implementation.

    Speed and memory are compared with the baseline in the first type. 'of product' is the speed of all multiply-adds
    that the step needs (three times those of forward; nothing for removed positions but in 'plain' and 'dense') as a
    share of the speed of a product of two matrices of 2048 x 2048 in the same type, measured in the same turns.

    Args:
        sizes: Arch and number of images of a step.
        backends: Values of ``sparse_backend`` to compare with the baseline, and ``PEERS``.
        workloads: What is timed: the same in one type or several.
        repeats: Timed steps of each implementation.
        warmup: Untimed steps before these.
        json: File to write rows and environment to.

    Raises:
        RuntimeError: If a backend gives another loss than the baseline.
    """
    workload = workloads[0]
    step = f'{workload.part}, {workload.image_size} px, mask ratio {workload.mask_ratio}'
    environment_ = environment(workload.device)
    table = Table(COLUMNS, json, environment=environment_, step=f'{step}, median of {repeats} steps')
    for arch, batch_size in sizes:
        for row in compare(arch, batch_size, backends, workloads, repeats, warmup):
            table.add(**row)
        free(workload.device)


def compare(
    arch: str, batch_size: int, backends: Sequence[str], workloads: Sequence[Workload], repeats: int, warmup: int
) -> list[dict[str, Any]]:
    """Return the rows of a size, that of the baseline first. Errors are those of ``benchmark``."""
    device = workloads[0].device
    weights, batch = make_batch(arch, batch_size, workloads[0])
    steps = {
        (workload.dtype, name): partial(Step, name, arch, weights, batch, workload)
        for workload in workloads
        for name in (PLAIN, *backends)
    }
    memories: dict[Any, float | str] = {}
    losses: dict[str, float] = {}
    for (dtype, name), make in steps.items():
        step = None
        try:
            step = make()
            loss = step().item()
            if name != SPARK:
                losses.setdefault(name, loss)
                # The first is the baseline, unless it does not fit.
                reference, expected = next(iter(losses.items()))
                if not abs(loss - expected) <= TOLERANCE[dtype] * abs(expected):
                    raise RuntimeError(f'the loss of {name} is {loss}, that of {reference} {expected}')
            memories[dtype, name] = memory(step, step.model, device)
        except torch.OutOfMemoryError:
            memories[dtype, name] = DOES_NOT_FIT
        except ImportError as error:
            print(f'{name} is left out: {error}', file=sys.stderr)
        del step
        free(device)

    timed: dict[Any, Callable[[], Any]] = {}
    for key, make in steps.items():
        if isinstance(memories.get(key), float):
            timed[key] = make()
    timed |= {dtype: _product(dtype, device) for dtype, _ in steps}
    seconds = seconds_per_step(timed, repeats, warmup, device)
    baseline = (workloads[0].dtype, PLAIN)
    macs = {name: _macs(name, arch, batch, workloads[0]) for name in (PLAIN, *backends)}

    def row(key: tuple[str, str]) -> dict[str, Any]:
        dtype, name = key
        columns = dict(arch=arch, batch=batch_size, dtype=dtype, backend=name)
        kept, took = memories[key], seconds.get(key)
        if took is None or isinstance(kept, str):
            beside = '' if isinstance(kept, str) else ' beside the others'
            return columns | {**dict.fromkeys(COLUMNS[4:], '-'), 'images/s': DOES_NOT_FIT + beside, 'MiB': kept}
        kept_by_baseline = memories.get(baseline)
        return columns | {
            'images/s': batch_size / took,
            'speed-up': seconds[baseline] / took if baseline in seconds else '-',
            'of product': macs[name] / PRODUCT**3 * seconds[dtype] / took if macs[name] else '-',
            'MiB': kept,
            'memory': kept / kept_by_baseline if isinstance(kept_by_baseline, float) else '-',
        }

    return [row(key) for key in steps if key in memories]


def _product(dtype: str, device: str) -> Callable[[], Tensor]:
    a, b = (torch.randn(PRODUCT, PRODUCT, device=device, dtype=DTYPES[dtype]) for _ in range(2))
    return lambda: a @ b


def _macs(name: str, arch: str, batch: tuple[Tensor, Tensor], workload: Workload) -> int:
    """Return the multiply-adds of a step; 0: not counted."""
    if name == SPARK:
        return 0
    images, mask = batch
    backend = 'dense' if name in (PLAIN, PLAIN_COMPILED) else name
    with torch.device('meta'):  # to initialise weights that are only counted would take long
        model = build(backend, arch, None, 'meta')
    counts = count_macs(model.to_empty(device='cpu'), (workload.image_size,) * 2, mask[:1], backend)
    return 3 * len(images) * counts['backbone' if workload.part == 'encoder' else '']


class Step:
    """A training step of an implementation, always on the same batch; calling it returns the loss."""

    def __init__(
        self, name: str, arch: str, weights: dict[str, Tensor], batch: tuple[Tensor, Tensor], workload: Workload
    ) -> None:
        if name == SPARK:  # with weights of its own
            spark: Any = _spark(arch, workload.image_size)
            self.model: Any = spark.to(workload.device, memory_format=torch.channels_last)
        else:
            self.model = build(name, arch, weights, workload.device)
        trained: Any = self.model.backbone if workload.part == 'encoder' else self.model
        self.loss = as_named(name, make_loss(self.model, name, workload.part))
        self.optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-5, fused=True)
        self.batch, self.workload = batch, workload

    def __call__(self) -> Tensor:
        with autocast(self.workload.device, self.workload.dtype):
            loss = self.loss(*self.batch)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


def make_batch(arch: str, batch_size: int, workload: Workload) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
    """Return the weights of all implementations, and images (N, 3, H, W) with a mask (N, H/32, W/32) to train on."""
    torch.manual_seed(0)
    weights = build('dense', arch, None, 'cpu').state_dict()
    images = torch.randn(batch_size, 3, workload.image_size, workload.image_size).to(workload.device)
    images = images.contiguous(memory_format=torch.channels_last)
    grid_size = (workload.image_size // PATCH_SIZE,) * 2
    return weights, (images, random_mask(batch_size, grid_size, workload.mask_ratio))


def build(name: str, arch: str, weights: dict[str, Tensor] | None, device: str) -> nn.Module:
    """Return the model of an implementation, plain or of a backend, channels-last, with the given weights."""
    if name in (PLAIN, PLAIN_COMPILED):
        model = plain_fcmae.FCMAE(ARCHITECTURES[arch]['depths'], ARCHITECTURES[arch]['channels'])
    else:
        backbone = dict(type='mmcnv2.ConvNeXtV2', arch=arch, sparse_backend=name)
        model = MODELS.build(dict(type='mmcnv2.FCMAE', backbone=backbone))
    if weights is not None:
        model.load_state_dict(weights)
    # torch's annotations lack memory_format.
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _spark(arch: str, image_size: int) -> nn.Module:
    """Build mmpretrain's SparK as its config for ConvNeXt V2 tiny sets it, but for the sizes."""
    from mmpretrain.models import SparK  # optional

    backbone = dict(type='SparseConvNeXt', arch=arch, drop_path_rate=0.0, out_indices=(0, 1, 2, 3))
    return SparK(
        input_size=image_size,
        backbone=dict(backbone, gap_before_output=False, layer_scale_init_value=0.0, use_grn=True),
        neck=dict(type='SparKLightDecoder', feature_dim=512, upsample_ratio=32, mid_channels=0, last_act=False),
        head=dict(type='SparKPretrainHead', loss=dict(type='PixelReconstructionLoss', criterion='L2')),
        enc_dec_norm_cfg=dict(type='SparseLN2d', eps=1e-6),
        enc_dec_norm_dim=ARCHITECTURES[arch]['channels'][-1],
    )


def make_loss(model: Any, name: str, part: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function of images and mask that gives the loss, a scalar."""
    if part == 'encoder':
        return lambda images, mask: model.backbone(images, mask)[-1].float().square().mean()
    if name in (PLAIN, PLAIN_COMPILED):
        return model
    if name == SPARK:
        return lambda images, mask: model(images, [], mode='loss')['loss']  # it draws its own mask
    return lambda images, mask: model.loss(images, mask=mask)['loss']
