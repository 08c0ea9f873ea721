"""Images per second and memory of an FCMAE pre-training step (forward, backward, AdamW), backend by backend.

The baseline, ``plain``, is the dense formulation of the paper written plainly (``plain_fcmae.py``), channels-last,
eager. Every backend has the same weights, images and masks as the baseline, and must give the same loss before it is
timed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmcnv2.models.backbones.convnextv2 import ARCHITECTURES
from mmcnv2.models.sparse import PATCH_SIZE, random_mask
from mmcnv2.registry import MODELS

from . import plain_fcmae
from .measure import Table, autocast, environment, free, memory, seconds_per_step

PLAIN = 'plain'
TOLERANCE = dict(fp32=1e-4, bf16=3e-2, fp16=3e-2)  # relative, of the loss
COLUMNS = ['arch', 'batch', 'backend', 'images/s', 'speed-up', 'MiB', 'memory']


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
    workload: Workload,
    repeats: int,
    warmup: int,
    json: str | None = None,
) -> None:
    """Print a table with a row for each size and implementation.

    Args:
        sizes: Arch and number of images of a step.
        backends: Values of ``sparse_backend`` to compare with the baseline.
        workload: What is timed.
        repeats: Timed steps of each implementation.
        warmup: Untimed steps before these.
        json: File to write rows and environment to.

    Raises:
        RuntimeError: If a backend gives another loss than the baseline.
    """
    step = f'{workload.part}, {workload.dtype}, {workload.image_size} px, mask ratio {workload.mask_ratio}'
    environment_ = environment(workload.device)
    table = Table(COLUMNS, json, environment=environment_, step=f'{step}, median of {repeats} steps')
    for arch, batch_size in sizes:
        try:
            for row in compare(arch, batch_size, backends, workload, repeats, warmup):
                table.add(**row)
        except torch.OutOfMemoryError:
            print(f'{arch} with a batch of {batch_size} does not fit into memory: take smaller --batch-sizes')
        free(workload.device)


def compare(
    arch: str, batch_size: int, backends: Sequence[str], workload: Workload, repeats: int, warmup: int
) -> list[dict[str, Any]]:
    """Return the rows of a size, that of the baseline first. Errors are those of ``benchmark``."""
    weights, batch = make_batch(arch, batch_size, workload)
    memories, losses = {}, {}
    for name in (PLAIN, *backends):
        step = Step(name, arch, weights, batch, workload)
        losses[name] = step().item()
        difference = abs(losses[name] - losses[PLAIN]) / abs(losses[PLAIN])
        if not difference <= TOLERANCE[workload.dtype]:
            raise RuntimeError(f'the loss of {name} is {losses[name]}, that of {PLAIN} {losses[PLAIN]}')
        memories[name] = memory(step, step.model, workload.device)
        del step
        free(workload.device)

    steps = {name: Step(name, arch, weights, batch, workload) for name in memories}
    seconds = seconds_per_step(steps, repeats, warmup, workload.device)
    return [
        {
            'arch': arch,
            'batch': batch_size,
            'backend': name,
            'images/s': batch_size / seconds[name],
            'speed-up': seconds[PLAIN] / seconds[name],
            'MiB': memories[name],
            'memory': memories[name] / memories[PLAIN],
        }
        for name in steps
    ]


class Step:
    """A training step of an implementation, always on the same batch; calling it returns the loss."""

    def __init__(
        self, name: str, arch: str, weights: dict[str, Tensor], batch: tuple[Tensor, Tensor], workload: Workload
    ) -> None:
        self.model: Any = build(name, arch, weights, workload.device)
        trained: Any = self.model.backbone if workload.part == 'encoder' else self.model
        self.loss = make_loss(self.model, name, workload.part)
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
    """Return the model of an implementation, 'plain' or a backend, channels-last, with the given weights."""
    if name == PLAIN:
        model = plain_fcmae.FCMAE(ARCHITECTURES[arch]['depths'], ARCHITECTURES[arch]['channels'])
    else:
        backbone = dict(type='mmcnv2.ConvNeXtV2', arch=arch, sparse_backend=name)
        model = MODELS.build(dict(type='mmcnv2.FCMAE', backbone=backbone))
    if weights is not None:
        model.load_state_dict(weights)
    # torch's annotations lack memory_format.
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def make_loss(model: Any, name: str, part: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function of images and mask that gives the loss, a scalar."""
    if part == 'encoder':
        return lambda images, mask: model.backbone(images, mask)[-1].float().square().mean()
    if name == PLAIN:
        return model
    return lambda images, mask: model.loss(images, mask=mask)['loss']
