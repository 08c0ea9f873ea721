"""Images per second and memory of an FCMAE pre-training step (forward, backward, AdamW), backend by backend.

    python tools/analysis_tools/benchmark_pretrain.py --archs atto tiny --batch-sizes 16 4 --part encoder
    python tools/analysis_tools/benchmark_pretrain.py --archs base large --batch-sizes 128 --dtype bf16 --device cuda

The yardstick, ``plain``, is the dense formulation of the paper written plainly (``plain_fcmae.py``), channels-last,
eager. Every contender has the same weights, images and masks, and must give the yardstick's loss before it is timed.
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
from mmcnv2.models.sparse import PATCH_SIZE, random_mask
from mmcnv2.models.sparse.backends import BACKENDS
from mmcnv2.registry import MODELS

PLAIN = 'plain'
TOLERANCE = dict(fp32=1e-4, bf16=3e-2, fp16=3e-2)


def parse_args(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--archs', nargs='+', choices=ARCHITECTURES, default=['atto', 'tiny'])
    parser.add_argument(
        '--batch-sizes', nargs='+', type=int, default=[16, 4], help='one for each arch, or one for all'
    )
    parser.add_argument('--backends', nargs='+', choices=BACKENDS, default=['dense', 'auto'])
    parser.add_argument('--part', choices=['encoder', 'whole'], default='whole', help='what a step computes')
    parser.add_argument('--image-size', type=int, default=224)
    parser.add_argument('--mask-ratio', type=float, default=0.6)
    add_arguments(parser)
    args = parser.parse_args()
    check_arguments(parser, args)
    if args.image_size < 1 or args.image_size % PATCH_SIZE:
        parser.error(f'--image-size must be positive and divisible by {PATCH_SIZE}, got {args.image_size}')
    try:
        random_mask(1, (args.image_size // PATCH_SIZE,) * 2, args.mask_ratio)
    except ValueError as error:
        parser.error(f'--mask-ratio: {error}')
    if len(args.batch_sizes) not in (1, len(args.archs)) or min(args.batch_sizes) < 1:
        parser.error(f'--batch-sizes takes one positive number, or one for each of {args.archs}: {args.batch_sizes}')
    if len(args.batch_sizes) == 1:
        args.batch_sizes *= len(args.archs)
    return args


def build(name: str, arch: str, weights: dict[str, Tensor] | None, device: str) -> nn.Module:
    """The model of a contender, channels-last, with the given weights."""
    if name == PLAIN:
        model = plain_fcmae.FCMAE(**ARCHITECTURES[arch])
    else:
        backbone = dict(type='mmcnv2.ConvNeXtV2', arch=arch, sparse_backend=name)
        model = MODELS.build(dict(type='mmcnv2.FCMAE', backbone=backbone))
    if weights is not None:
        model.load_state_dict(weights)
    return model.to(device, memory_format=torch.channels_last)


def make_loss(model: nn.Module, name: str, part: str) -> Callable[[Tensor, Tensor], Tensor]:
    """From images and mask to a scalar."""
    if part == 'encoder':
        return lambda images, mask: model.backbone(images, mask)[-1].float().square().mean()
    if name == PLAIN:
        return model
    return lambda images, mask: model.loss(images, mask=mask)['loss']


class Step:
    """A training step of a contender on always the same batch; calling it returns the loss."""

    def __init__(
        self, name: str, arch: str, weights: dict[str, Tensor], batch: tuple, args: argparse.Namespace
    ) -> None:
        self.model = build(name, arch, weights, args.device)
        trained = self.model.backbone if args.part == 'encoder' else self.model
        self.loss = make_loss(self.model, name, args.part)
        self.optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-5, fused=True)
        self.batch, self.args = batch, args

    def __call__(self) -> float:
        with autocast(self.args.device, self.args.dtype):
            loss = self.loss(*self.batch)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


def make_batch(arch: str, batch_size: int, args: argparse.Namespace) -> tuple[dict[str, Tensor], tuple]:
    """The weights that all contenders get, and images (N, 3, H, W) and a mask to train on."""
    torch.manual_seed(0)
    weights = build('dense', arch, None, 'cpu').state_dict()
    images = torch.randn(batch_size, 3, args.image_size, args.image_size).to(args.device)
    images = images.contiguous(memory_format=torch.channels_last)
    grid_size = (args.image_size // PATCH_SIZE,) * 2
    return weights, (images, random_mask(batch_size, grid_size, args.mask_ratio))


def measure(arch: str, batch_size: int, args: argparse.Namespace, table: Table) -> None:
    """Adds the rows of a size, the yardstick's first."""
    weights, batch = make_batch(arch, batch_size, args)
    memories, losses = {}, {}
    for name in (PLAIN, *args.backends):
        step = Step(name, arch, weights, batch, args)
        losses[name] = step().item()
        difference = abs(losses[name] - losses[PLAIN]) / abs(losses[PLAIN])
        if not difference <= TOLERANCE[args.dtype]:
            sys.exit(f'{name} gives the loss {losses[name]}, {PLAIN} {losses[PLAIN]}: it computes something else')
        memories[name] = memory(step, step.model, args.device)
        del step
        free(args.device)

    steps = {name: Step(name, arch, weights, batch, args) for name in memories}
    seconds = seconds_per_step(steps, args.repeats, args.warmup, args.device)
    for name in steps:
        table.add(
            arch=arch,
            batch=batch_size,
            backend=name,
            **{
                'images/s': batch_size / seconds[name],
                'speed-up': seconds[PLAIN] / seconds[name],
                'MiB': memories[name],
                'memory': memories[name] / memories[PLAIN],
            },
        )
    del steps
    free(args.device)


def main() -> None:
    args = parse_args(__doc__)
    about = dict(
        environment=environment(args.device),
        step=f'{args.part}, {args.dtype}, {args.image_size} px, mask ratio {args.mask_ratio}, '
        f'median of {args.repeats} steps',
    )
    table = Table(['arch', 'batch', 'backend', 'images/s', 'speed-up', 'MiB', 'memory'], args.json, **about)
    for arch, batch_size in zip(args.archs, args.batch_sizes, strict=True):
        try:
            measure(arch, batch_size, args, table)
        except torch.OutOfMemoryError:
            free(args.device)
            print(f'{arch} with a batch of {batch_size} does not fit into memory: take smaller --batch-sizes')


if __name__ == '__main__':
    main()
