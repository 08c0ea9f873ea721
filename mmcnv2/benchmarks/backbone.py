"""Images per second and memory of the dense backbone, forward and backward, beside other implementations.

``plain`` is the network written plainly (``plain_fcmae.py``), ``timm`` its ``features_only`` model, ``mmpretrain`` its
ConvNeXt with ``use_grn``. All return the maps of the four stages; ``plain`` and ours have the same weights and must
agree before anything is timed. timm's maps have no output norms, mmpretrain's have them as ours do.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmcnv2.models.backbones.convnextv2 import ARCHITECTURES
from mmcnv2.registry import MODELS

from . import plain_fcmae
from .measure import Table, autocast, environment, free, memory, seconds_per_step

TOLERANCE = dict(fp32=1e-4, bf16=3e-2, fp16=3e-2)  # relative, of the sum that a step returns
COLUMNS = ['arch', 'size', 'batch', 'network', 'images/s', 'mmcnv2 is faster by', 'MiB', 'mmcnv2 keeps']


def ours(arch: str) -> nn.Module:
    return MODELS.build(dict(type='mmcnv2.ConvNeXtV2', arch=arch))


def plain(arch: str) -> nn.Module:
    return plain_fcmae.ConvNeXtV2(**ARCHITECTURES[arch], out_norm=True)


def timm(arch: str) -> nn.Module:
    import timm  # optional

    return timm.create_model(f'convnextv2_{arch}', features_only=True)


def mmpretrain(arch: str) -> nn.Module:
    from mmpretrain.models import ConvNeXt  # optional

    # use_grn comes without layer scale, as in the configs of mmpretrain.
    return ConvNeXt(
        arch, use_grn=True, layer_scale_init_value=0.0, out_indices=(0, 1, 2, 3), gap_before_final_norm=False
    )


IMPLEMENTATIONS: dict[str, Callable[[str], nn.Module]] = dict(
    plain=plain, mmcnv2=ours, timm=timm, mmpretrain=mmpretrain
)


def benchmark(
    archs: Sequence[str],
    image_sizes: Sequence[int],
    batch_size: int,
    against: Sequence[str],
    device: str,
    dtype: str,
    repeats: int,
    warmup: int,
    json: str | None = None,
) -> None:
    """Print a table with a row for each arch, image size and implementation.

    Args:
        archs: Keys of ``ARCHITECTURES``.
        image_sizes: Sides in pixels, multiples of 32.
        batch_size: Images of a step.
        against: Keys of ``IMPLEMENTATIONS``; those that cannot be built here are left out with a line that says so.
        device: For torch, e.g. 'cpu'.
        dtype: A key of ``measure.DTYPES``.
        repeats: Timed steps of each implementation.
        warmup: Untimed steps before these.
        json: File to write rows and environment to.

    Raises:
        RuntimeError: If ``plain`` and ours compute different maps.
    """
    names = installed(['mmcnv2', *(name for name in against if name != 'mmcnv2')], archs[0])
    step = f'forward and backward, {dtype}, median of {repeats} steps'
    table = Table(COLUMNS, json, environment=environment(device), step=step)
    for arch in archs:
        for image_size in image_sizes:
            try:
                torch.manual_seed(0)
                images = torch.randn(batch_size, 3, image_size, image_size).to(device)
                images = images.contiguous(memory_format=torch.channels_last)
                for row in compare(arch, images, names, dtype, repeats, warmup):
                    table.add(**row)
            except torch.OutOfMemoryError:
                print(f'{arch} at {image_size} does not fit into memory: take a smaller --batch-size')
            free(device)


def installed(names: Sequence[str], arch: str) -> list[str]:
    """Return the implementations that can be built here, and print a line for each that cannot."""
    found = []
    for name in names:
        try:
            IMPLEMENTATIONS[name](arch)
            found.append(name)
        except Exception as error:  # whatever a package fails with, the others are still measured
            print(f'{name} is left out: {type(error).__name__}: {error}', file=sys.stderr)
    return found


def compare(
    arch: str, images: Tensor, names: Sequence[str], dtype: str, repeats: int, warmup: int
) -> list[dict[str, Any]]:
    """Return the rows of an arch on images (N, 3, H, W). Errors are those of ``benchmark``."""
    device = str(images.device)
    weights = ours(arch).state_dict()

    def make(name: str) -> Step:
        model = IMPLEMENTATIONS[name](arch)
        if name in ('plain', 'mmcnv2'):
            model.load_state_dict(weights)
        return Step(model, images, dtype)

    memories, losses = {}, {}
    for name in names:
        step = make(name)
        losses[name] = step().item()
        memories[name] = memory(step, step.model, device)
        del step
        free(device)
    if 'plain' in names and not abs(losses['plain'] / losses['mmcnv2'] - 1) <= TOLERANCE[dtype]:
        raise RuntimeError(f'mmcnv2 gives {losses["mmcnv2"]}, plain {losses["plain"]}: they compute different maps')

    seconds = seconds_per_step({name: make(name) for name in names}, repeats, warmup, device)
    return [
        {
            'arch': arch,
            'size': images.shape[-1],
            'batch': len(images),
            'network': name,
            'images/s': len(images) / seconds[name],
            'mmcnv2 is faster by': seconds[name] / seconds['mmcnv2'],
            'MiB': memories[name],
            'mmcnv2 keeps': memories['mmcnv2'] / memories[name],
        }
        for name in names
    ]


class Step:
    """Forward and backward of a network; calling it returns the sum of the maps' means of squares."""

    def __init__(self, model: nn.Module, images: Tensor, dtype: str) -> None:
        # torch's annotations lack memory_format.
        self.model = model.to(images.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model.train()  # not chained: mmpretrain's returns None
        self.images, self.dtype = images, dtype

    def __call__(self) -> Tensor:
        with autocast(str(self.images.device), self.dtype):
            loss = sum(map_.float().square().mean() for map_ in self.model(self.images))
        loss.backward()
        self.model.zero_grad()
        return loss.detach()
