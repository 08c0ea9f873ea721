"""Images per second and memory of the dense backbone, forward and backward, beside other implementations.

    python tools/analysis_tools/benchmark_backbone.py --archs tiny base --image-sizes 512 1024

``plain`` is the network written plainly (``plain_fcmae.py``), ``timm`` its ``features_only`` model, ``mmpretrain`` its
ConvNeXt with ``use_grn``; one that is not installed is left out with a line that says so. All return the maps of the
four stages; ``plain`` and ours have the same weights and must agree before anything is timed. timm's maps have no
output norms, and mmpretrain's have them as ours.
"""

import argparse
import sys
from collections.abc import Callable

import plain_fcmae
import torch
from measure import Table, add_arguments, autocast, check_arguments, environment, free, memory, seconds_per_step
from torch import Tensor, nn

import mmcnv2  # noqa: F401
from mmcnv2.models.backbones.convnextv2 import ARCHITECTURES
from mmcnv2.models.sparse import PATCH_SIZE
from mmcnv2.registry import MODELS

TOLERANCE = dict(fp32=1e-4, bf16=3e-2, fp16=3e-2)


def ours(arch: str) -> nn.Module:
    return MODELS.build(dict(type='mmcnv2.ConvNeXtV2', arch=arch))


def plain(arch: str) -> nn.Module:
    return plain_fcmae.ConvNeXtV2(**ARCHITECTURES[arch], out_norm=True)


def timm(arch: str) -> nn.Module:
    import timm

    return timm.create_model(f'convnextv2_{arch}', features_only=True)


def mmpretrain(arch: str) -> nn.Module:
    from mmpretrain.models import ConvNeXt

    # use_grn comes without layer scale, as in the configs of mmpretrain.
    return ConvNeXt(
        arch, use_grn=True, layer_scale_init_value=0.0, out_indices=(0, 1, 2, 3), gap_before_final_norm=False
    )


CONTENDERS: dict[str, Callable[[str], nn.Module]] = dict(plain=plain, mmcnv2=ours, timm=timm, mmpretrain=mmpretrain)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--archs', nargs='+', choices=ARCHITECTURES, default=['tiny'])
    parser.add_argument('--image-sizes', nargs='+', type=int, default=[512])
    parser.add_argument('--batch-size', type=int, default=1)
    parser.add_argument('--against', nargs='+', choices=CONTENDERS, default=['plain', 'timm', 'mmpretrain'])
    add_arguments(parser)
    args = parser.parse_args()
    check_arguments(parser, args)
    for size in args.image_sizes:
        if size < 1 or size % PATCH_SIZE:
            parser.error(f'--image-sizes must be positive and divisible by {PATCH_SIZE}, got {size}')
    if args.batch_size < 1:
        parser.error(f'--batch-size must be at least 1, got {args.batch_size}')
    return args


class Step:
    """Forward and backward of a contender; calling it returns the sum of the maps' means of squares."""

    def __init__(self, model: nn.Module, images: Tensor, args: argparse.Namespace) -> None:
        self.model = model.to(args.device, memory_format=torch.channels_last)
        model.train()  # mmpretrain's returns None
        self.images, self.args = images, args

    def __call__(self) -> Tensor:
        with autocast(self.args.device, self.args.dtype):
            loss = sum(map_.float().square().mean() for map_ in self.model(self.images))
        loss.backward()
        self.model.zero_grad()
        return loss.detach()


def installed(names: list[str], arch: str) -> list[str]:
    """The contenders that can be built here; a line for each that cannot."""
    found = []
    for name in names:
        try:
            CONTENDERS[name](arch)
            found.append(name)
        except Exception as error:  # whatever a package fails with, the others are still measured
            print(f'{name} is left out: {type(error).__name__}: {error}', file=sys.stderr)
    return found


def measure(arch: str, image_size: int, names: list[str], args: argparse.Namespace, table: Table) -> None:
    """Adds the rows of a size."""
    torch.manual_seed(0)
    weights = ours(arch).state_dict()
    images = torch.randn(args.batch_size, 3, image_size, image_size).to(args.device)
    images = images.contiguous(memory_format=torch.channels_last)

    def make(name: str) -> Step:
        model = CONTENDERS[name](arch)
        if name in ('plain', 'mmcnv2'):
            model.load_state_dict(weights)
        return Step(model, images, args)

    memories, losses = {}, {}
    for name in names:
        step = make(name)
        losses[name] = step().item()
        memories[name] = memory(step, step.model, args.device)
        del step
        free(args.device)
    if 'plain' in names and not abs(losses['plain'] / losses['mmcnv2'] - 1) <= TOLERANCE[args.dtype]:
        sys.exit(f'mmcnv2 gives {losses["mmcnv2"]}, plain {losses["plain"]}: they compute different things')

    seconds = seconds_per_step({name: make(name) for name in names}, args.repeats, args.warmup, args.device)
    for name in names:
        table.add(
            arch=arch,
            size=image_size,
            batch=args.batch_size,
            network=name,
            **{
                'images/s': args.batch_size / seconds[name],
                'mmcnv2 is faster by': seconds[name] / seconds['mmcnv2'],
                'MiB': memories[name],
                'mmcnv2 keeps': memories['mmcnv2'] / memories[name],
            },
        )
    free(args.device)


def main() -> None:
    args = parse_args()
    names = installed(['mmcnv2', *(name for name in args.against if name != 'mmcnv2')], args.archs[0])
    about = dict(
        environment=environment(args.device),
        step=f'forward and backward, {args.dtype}, median of {args.repeats} steps',
    )
    columns = ['arch', 'size', 'batch', 'network', 'images/s', 'mmcnv2 is faster by', 'MiB', 'mmcnv2 keeps']
    table = Table(columns, args.json, **about)
    for arch in args.archs:
        for image_size in args.image_sizes:
            try:
                measure(arch, image_size, names, args, table)
            except torch.OutOfMemoryError:
                free(args.device)
                print(f'{arch} at {image_size} does not fit into memory: take a smaller --batch-size')


if __name__ == '__main__':
    main()
