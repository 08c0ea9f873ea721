"""Exports a backbone to ONNX or to a program of torch.export, for batches and images of any size.

    python tools/model_converters/export_backbone.py CHECKPOINT backbone.onnx
    python tools/model_converters/export_backbone.py timm://convnextv2_base.fcmae backbone.pt2 --out-indices 3

Depths and channels are those of the checkpoint, whose layout is recognised (docs/weights.md). Input: ``images``
(N, C, H, W) float32, normalised, H and W divisible by 32 and at least 64. Outputs: the maps of the stages in
--out-indices, with output norms where the checkpoint has them. What was written is run and compared with the backbone
at other sizes than the one it was traced with; if they differ, it is taken away again.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import mmcnv2  # noqa: F401
from mmcnv2.models import ConvNeXtV2
from mmcnv2.models.sparse import PATCH_SIZE
from mmcnv2.models.weights import read_state_dict
from mmcnv2.models.weights.converting import build_backbone

TOLERANCE = 1e-4
TRACED, CHECKED = (2, 64, 96), [(2, 64, 96), (1, 160, 128), (3, 64, 256)]  # N, H, W


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', help='path, URL or timm://NAME')
    parser.add_argument('target', help='file to write: .onnx or .pt2')
    parser.add_argument('--out-indices', nargs='+', type=int, choices=range(4), default=[0, 1, 2, 3])
    args = parser.parse_args()
    if Path(args.target).suffix not in ('.onnx', '.pt2'):
        parser.error(f'the target must end in .onnx or .pt2, got {args.target}')
    return args


def images(in_channels: int, size: tuple[int, int, int]) -> Tensor:
    """Random images (N, C, H, W)."""
    n, height, width = size
    return torch.randn(n, in_channels, height, width, generator=torch.Generator().manual_seed(0))


def export(backbone: ConvNeXtV2, target: Path) -> Callable[[Tensor], Sequence[Tensor]]:
    """Writes ``target`` and returns a function that runs what was written."""
    batch = torch.export.Dim('batch')
    # From two patches on: with one, strides say nothing, and torch.export takes that for a case of its own.
    height, width = (torch.export.Dim(name, min=2) for name in ('patch_rows', 'patch_columns'))
    sizes = ({0: batch, 2: PATCH_SIZE * height, 3: PATCH_SIZE * width},)
    example = (images(backbone.in_channels, TRACED),)
    if target.suffix == '.pt2':
        torch.export.save(torch.export.export(backbone, example, dynamic_shapes=sizes), target)
        return torch.export.load(target).module()
    try:
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f'{target.name} needs packages: pip install onnx onnxscript onnxruntime ({error})'
        ) from error
    names = [f'stage{i}' for i in backbone.out_indices]
    torch.onnx.export(
        *(backbone, example, target),
        **dict(dynamo=True, dynamic_shapes=sizes, input_names=['images'], output_names=names),
        **dict(external_data=False, verbose=False),
    )
    session = onnxruntime.InferenceSession(target, providers=['CPUExecutionProvider'])
    return lambda x: [torch.from_numpy(out) for out in session.run(None, {'images': x.numpy()})]


def difference(backbone: nn.Module, exported: Callable[[Tensor], Sequence[Tensor]]) -> float:
    """Norm of the difference over the norm of a map, the largest over maps and sizes."""
    values = []
    for size in CHECKED:
        x = images(backbone.in_channels, size)
        values += [
            (actual - expected).norm().item() / expected.norm().item()
            for actual, expected in zip(exported(x), backbone(x), strict=True)
        ]
    return max(values)


def main() -> None:
    args = parse_args()
    target = Path(args.target)
    part = target.with_name(f'{target.stem}.part{target.suffix}')
    try:
        backbone = build_backbone(read_state_dict(args.checkpoint), args.out_indices).eval()
        target.parent.mkdir(parents=True, exist_ok=True)
        with torch.no_grad():
            error = difference(backbone, export(backbone, part))
    except (ValueError, OSError, ImportError) as problem:
        sys.exit(f'error: {args.checkpoint}: {problem}')
    if not error <= TOLERANCE:
        part.unlink()
        sys.exit(f'error: the exported backbone differs from the original by {error:.1e}')
    os.replace(part, target)
    print(f'{target}: depths {backbone.depths}, channels {backbone.channels}, stages {backbone.out_indices}')
    print(f'compared at (N, H, W) = {", ".join(map(str, CHECKED))}: differs by at most {error:.1e}')


if __name__ == '__main__':
    main()
