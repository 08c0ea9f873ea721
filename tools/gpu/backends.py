"""Compare every sparse backend with `dense` on a device: maps, loss and all gradients, in each precision.

Both are compared with `dense` in float64, on the same device; the whole FCMAE step with the plain network of the
benchmarks in float64 on the CPU. A tensor passes if its relative error is within the tolerance, or less than twice
that of `dense` in the same precision. Besides: the choice of `auto`, and whether gradients are equal bit for bit when
repeated. Exit code 1 if anything is beyond.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

import mmcnv2  # noqa: F401  (registers the models)
from mmcnv2.benchmarks import plain_fcmae
from mmcnv2.benchmarks.measure import DTYPES, Table, autocast, environment, free
from mmcnv2.models.backbones.convnextv2 import ARCHITECTURES
from mmcnv2.models.sparse import make_layout, random_mask
from mmcnv2.models.sparse.backends import BACKENDS, auto, load_backend
from mmcnv2.registry import MODELS

TOLERANCE = dict(fp32=2e-5, bf16=2e-2, fp16=2e-2)  # docs/design.md
SHORT = dict(depths=(1, 1, 2, 1), channels=(5, 9, 33, 65))
# name: arch, channels of the images, images, share of removed patches
CASES: dict[str, tuple[Any, int, int, float]] = {
    'odd': (SHORT, 5, 3, 0.6),
    'batch 1': (SHORT, 3, 1, 0.6),
    'one visible patch': (SHORT, 3, 2, 0.9),
    **{arch: (arch, 3, 2, 0.6) for arch in ARCHITECTURES},
}
FCMAE = 'fcmae'
COLUMNS = ['case', 'dtype', 'backend', 'maps', 'of dense', 'gradients', 'worst', 'of dense there', 'passed']
REPEATS = 5


def error(actual: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference over that of what was expected; NaN stays NaN."""
    difference = torch.linalg.vector_norm(actual.double() - expected.double())
    return (difference / expected.double().norm().clamp(min=1e-30)).item()


@torch.no_grad()
def randomise(model: nn.Module) -> None:
    """Set weights of unit gain, norms around 1, biases and GRN of order one: a forgotten term shows."""
    for name, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        if parameter.ndim > 1:
            parameter.copy_(noise / parameter[0].numel() ** 0.5)
        else:
            parameter.copy_(0.5 * noise + name.endswith('weight'))


def results(model: nn.Module, images: Tensor, mask: Tensor, dtype: str) -> dict[str, Tensor]:
    """Return maps and gradients of images and parameters, of a sum that weighs every entry of every map."""
    images = images.detach().requires_grad_()
    model.zero_grad()
    with autocast(str(images.device), dtype):
        maps = model(images, mask)
    total: Any = 0
    for map_ in maps:
        weight = torch.arange(map_.numel(), device=map_.device, dtype=torch.float64).sin().view(map_.shape)
        total = total + (map_.double() * weight).sum() / map_.numel() ** 0.5
    total.backward()
    found = {f'map {i}': map_.detach() for i, map_ in enumerate(maps)}
    return found | {'images': images.grad} | {f'gradient {k}': p.grad for k, p in model.named_parameters()}


def fcmae_results(model: nn.Module, images: Tensor, mask: Tensor, dtype: str) -> dict[str, Tensor]:
    """Return loss and gradients of a pre-training step of our FCMAE, or the plain one."""
    model.zero_grad()
    with autocast(str(images.device), dtype):
        loss = model(images, mask) if isinstance(model, plain_fcmae.FCMAE) else model.loss(images, mask=mask)['loss']
    loss.backward()
    return {'loss': loss.detach()} | {f'gradient {k}': p.grad for k, p in model.named_parameters()}


def judge(found: dict[str, Tensor], dense: dict[str, float], expected: dict[str, Tensor], dtype: str) -> dict:
    """Return the columns from 'maps' on: the largest error of the outputs, and the gradient that is worst."""
    errors = {name: error(tensor.to(expected[name].device), expected[name]) for name, tensor in found.items()}
    # Compared with not <=, so that NaN fails.
    beyond = [name for name, value in errors.items() if not value <= max(TOLERANCE[dtype], 2 * dense[name])]
    outputs = [name for name in errors if name.startswith(('map', 'loss'))]
    gradients = [name for name in errors if name not in outputs]
    worst = next((name for name in beyond if name in gradients), max(gradients, key=errors.__getitem__))
    return {
        'maps': max(errors[name] for name in outputs),
        'of dense': max(dense[name] for name in outputs),
        'gradients': errors[worst],
        'worst': worst.removeprefix('gradient '),
        'of dense there': dense[worst],
        'passed': not beyond,
    }


def compare(
    model: nn.Module,
    backbone: nn.Module,
    run: Any,
    images: Tensor,
    mask: Tensor,
    args: Any,
    expected: dict[str, Tensor],
) -> Iterator[dict]:
    """Yield a row for each dtype and backend; ``model`` is in float32 with the weights of the reference."""
    for dtype in args.dtypes:
        backbone.sparse_backend = 'dense'
        found = run(model, images, mask, dtype)
        dense = {name: error(tensor.to(expected[name].device), expected[name]) for name, tensor in found.items()}
        for backend in args.backends:
            backbone.sparse_backend = backend
            row = dict(dtype=dtype, backend=backend)
            try:
                yield row | judge(run(model, images, mask, dtype), dense, expected, dtype)
            except ImportError as problem:
                yield row | dict.fromkeys(COLUMNS[3:], '-') | dict(worst=str(problem).splitlines()[0], passed='-')


def compare_backbones(case: str, args: Any) -> Iterator[dict]:
    """Yield the rows of a case: ``dense`` in float64 against every backend."""
    arch, in_channels, batch_size, ratio = CASES[case]
    torch.manual_seed(0)
    with torch.device(args.device):
        model = MODELS.build(
            dict(type='mmcnv2.ConvNeXtV2', arch=arch, in_channels=in_channels, sparse_backend='dense')
        )
        images = torch.randn(batch_size, in_channels, args.image_size, args.image_size + 32)
    randomise(model)
    mask = random_mask(batch_size, (args.image_size // 32, args.image_size // 32 + 1), ratio)
    expected = results(model.double(), images.double(), mask, 'fp32')
    yield from compare(model.float(), model, results, images, mask, args, expected)


def compare_fcmae(args: Any) -> Iterator[dict]:
    """Yield the rows of a whole step: the plain network in float64 on the CPU against every backend."""
    torch.manual_seed(0)
    arch = 'atto' if args.device == 'cpu' else 'tiny'
    model = MODELS.build(dict(type='mmcnv2.FCMAE', backbone=dict(type='mmcnv2.ConvNeXtV2', arch=arch)))
    randomise(model)
    plain = plain_fcmae.FCMAE(**ARCHITECTURES[arch]).double()
    plain.load_state_dict(model.state_dict())
    images = torch.randn(2, 3, args.image_size, args.image_size)
    mask = random_mask(2, (args.image_size // 32,) * 2, 0.6)
    expected = fcmae_results(plain, images.double(), mask, 'fp32')
    model = model.to(args.device)
    yield from compare(model, model.backbone, fcmae_results, images.to(args.device), mask, args, expected)


def is_deterministic(backend: str, device: str, dtype: str) -> bool:
    """Return whether output and gradients of a convolution are the same bits every time."""
    generator = torch.Generator().manual_seed(0)
    mask = random_mask(8, (7, 7), 0.6)
    visible = int((~mask[0]).sum())
    shapes = (8, visible * 16, 96), (96, 1, 7, 7), (96,), (8, visible * 16, 96)
    *leaves, grad = (torch.randn(shape, generator=generator).to(device, DTYPES[dtype]) for shape in shapes)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    conv = load_backend(backend)
    first: list[Tensor] = []
    for _ in range(REPEATS):
        out = conv(*leaves, make_layout(mask, backend))
        found = [out.detach(), *torch.autograd.grad(out, leaves, grad)]
        first = first or found
        if not all(torch.equal(a, b) for a, b in zip(first, found, strict=True)):
            return False
    return True


def auto_choice(device: str) -> tuple[str, str]:
    """Return the backend that `auto` takes, and what it says of those it tries first."""
    chosen = auto.choose(torch.zeros(0, device=device).device)
    tried = auto.CANDIDATES.get(torch.device(device).type, ())
    problems = {name: auto.check(name, torch.device(device)) for name in tried}
    return chosen.__module__.rsplit('.')[-1], '; '.join(f'{k}: {v or "works"}' for k, v in problems.items()) or '-'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*CASES, FCMAE]
    backends = [name for name in BACKENDS if name not in ('dense', 'auto')]
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--cases', nargs='+', default=names, choices=names, metavar='CASE', help=', '.join(names))
    parser.add_argument('--backends', nargs='+', choices=backends, help='(default: all that run on the device)')
    parser.add_argument('--dtypes', nargs='+', default=[*DTYPES], choices=[*DTYPES])
    parser.add_argument('--image-size', type=int, default=128, help='shorter side in pixels (default: 128)')
    parser.add_argument('--json', metavar='FILE')
    args = parser.parse_args()
    if args.backends is None:  # Triton's kernels need a GPU
        args.backends = [name for name in backends if args.device != 'cpu' or name != 'triton']
    # TF32 keeps 10 bits of each factor: not what is compared here.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    chosen, tried = auto_choice(args.device)
    table = Table(COLUMNS, args.json, environment=environment(args.device), auto=chosen, tried=tried)
    passed = args.device == 'cpu' or chosen == auto.CANDIDATES['cuda'][0]
    for case in args.cases:
        for row in compare_fcmae(args) if case == FCMAE else compare_backbones(case, args):
            table.add(case=case, **row)
            passed &= bool(row['passed'])
        free(args.device)
    for backend in args.backends:
        for dtype in ('fp32', 'bf16'):
            row = dict(case='same bits', dtype=dtype, backend=backend, **dict.fromkeys(COLUMNS[3:], '-'))
            try:
                same = is_deterministic(backend, args.device, dtype)
                # Convolutions of cuDNN, which `torch` calls, need not be.
                row |= dict(worst=f'{REPEATS} repeats equal: {same}', passed=same or backend == 'torch')
            except ImportError as problem:
                row |= dict(worst=str(problem).splitlines()[0])
            table.add(**row)
            passed &= bool(row['passed'])
    sys.exit(0 if passed else 'some are beyond the tolerance')


if __name__ == '__main__':
    main()
