"""Images per second and memory of the dense backbone, with or without gradients, beside other implementations.

``plain`` is the network written plainly (``plain_fcmae.py``), ``timm`` its ``features_only`` model, ``mmpretrain`` its
ConvNeXt with ``use_grn``; NAME-compiled is NAME under torch.compile. All return the maps of the four stages; ``plain``
and ours have the same weights and must agree before anything is timed, as must what is compiled and what is not.
timm's maps have no output norms, mmpretrain's have them as ours do. What does not fit into memory costs its own row.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmcnv2.models.backbones.convnextv2 import ARCHITECTURES
from mmcnv2.registry import MODELS

from . import plain_fcmae
from .measure import (
    COMPILED,
    DOES_NOT_FIT,
    Table,
    as_named,
    autocast,
    environment,
    free,
    memory,
    seconds_per_step,
)

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
NAMES = (*IMPLEMENTATIONS, *(name + COMPILED for name in IMPLEMENTATIONS))


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
    inference: bool = False,
) -> None:
    """Print a table with a row for each arch, image size and implementation.

    Args:
        archs: Keys of ``ARCHITECTURES``.
        image_sizes: Sides in pixels, multiples of 32.
        batch_size: Images of a step.
        against: Of ``NAMES``; those that cannot be built here are left out with a line that says so.
        device: For torch, e.g. 'cpu'.
        dtype: A key of ``measure.DTYPES``.
        repeats: Timed steps of each implementation.
        warmup: Untimed steps before these.
        json: File to write rows and environment to.
        inference: Forward alone, in evaluation mode and without gradients. A CPU keeps nothing then.

    Raises:
        RuntimeError: If ``plain`` and ours compute different maps.
    """
    names = installed(['mmcnv2', *(name for name in against if name != 'mmcnv2')], archs[0])
    what = 'forward without gradients' if inference else 'forward and backward'
    step = f'{what}, {dtype}, median of {repeats} steps'
    table = Table(COLUMNS, json, environment=environment(device), step=step)
    for arch in archs:
        for image_size in image_sizes:
            torch.manual_seed(0)
            images = torch.randn(batch_size, 3, image_size, image_size).to(device)
            images = images.contiguous(memory_format=torch.channels_last)
            for row in compare(arch, images, names, dtype, repeats, warmup, inference):
                table.add(**row)
            free(device)


def build(name: str, arch: str) -> nn.Module:
    """Return the network of one of ``NAMES``, not compiled yet; the weights are the same every time."""
    torch.manual_seed(0)
    return IMPLEMENTATIONS[name.removesuffix(COMPILED)](arch)


def installed(names: Sequence[str], arch: str) -> list[str]:
    """Return the implementations that can be built here, and print a line for each that cannot."""
    found = []
    for name in names:
        try:
            build(name, arch)
            found.append(name)
        except Exception as error:  # whatever a package fails with, the others are still measured
            print(f'{name} is left out: {type(error).__name__}: {error}', file=sys.stderr)
    return found


def compare(
    arch: str,
    images: Tensor,
    names: Sequence[str],
    dtype: str,
    repeats: int,
    warmup: int,
    inference: bool = False,
) -> list[dict[str, Any]]:
    """Return the rows of an arch on images (N, 3, H, W). Errors are those of ``benchmark``."""
    device = str(images.device)
    weights = ours(arch).state_dict()

    def make(name: str) -> Step:
        model = build(name, arch)
        if name.removesuffix(COMPILED) in ('plain', 'mmcnv2'):
            model.load_state_dict(weights)
        return Step(name, model, images, dtype, inference)

    memories: dict[str, float | str] = {}
    losses: dict[str, float] = {}
    # What is compiled is compared with what is not, measured or not.
    eager = [name.removesuffix(COMPILED) for name in names]
    for name in dict.fromkeys([*eager, *names]):
        step = None
        try:
            step = make(name)
            losses[name] = step().item()
            if name in names:
                memories[name] = memory(step, step.model, device)
        except torch.OutOfMemoryError:
            memories[name] = DOES_NOT_FIT
        del step
        free(device)
    references = {name: name.removesuffix(COMPILED) for name in names} | {'mmcnv2': 'plain'}
    for name, reference in references.items():
        if {name, reference} <= losses.keys() and not (abs(losses[name] / losses[reference] - 1) <= TOLERANCE[dtype]):
            raise RuntimeError(
                f'{name} gives {losses[name]}, {reference} {losses[reference]}: they compute different maps'
            )

    timed: dict[str, Callable[[], Any]] = {name: make(name) for name in names if isinstance(memories[name], float)}
    seconds = seconds_per_step(timed, repeats, warmup, device)

    def row(name: str) -> dict[str, Any]:
        columns = dict(arch=arch, size=images.shape[-1], batch=len(images), network=name)
        kept, took = memories[name], seconds.get(name)
        if took is None or isinstance(kept, str):
            beside = '' if isinstance(kept, str) else ' beside the others'
            return columns | {**dict.fromkeys(COLUMNS[4:], '-'), 'images/s': DOES_NOT_FIT + beside, 'MiB': kept}
        ours_keeps = memories['mmcnv2']
        return columns | {
            'images/s': len(images) / took,
            'mmcnv2 is faster by': took / seconds['mmcnv2'] if 'mmcnv2' in seconds else '-',
            'MiB': kept or '-',
            'mmcnv2 keeps': ours_keeps / kept if kept and isinstance(ours_keeps, float) else '-',
        }

    return [row(name) for name in names]


class Step:
    """Forward and backward, or forward alone; calling it returns the sum of the maps' means of squares."""

    def __init__(self, name: str, model: nn.Module, images: Tensor, dtype: str, inference: bool = False) -> None:
        # torch's annotations lack memory_format.
        self.model = model.to(images.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model.train(not inference)  # not chained: mmpretrain's returns None
        self.network = as_named(name, self.model)
        self.images, self.dtype, self.inference = images, dtype, inference

    def __call__(self) -> Tensor:
        with torch.inference_mode(self.inference):
            with autocast(str(self.images.device), self.dtype):
                loss = sum(map_.float().square().mean() for map_ in self.network(self.images))
            if not self.inference:
                loss.backward()
                self.model.zero_grad()
            return loss.detach()
