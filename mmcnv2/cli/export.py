"""Export a backbone, ConvNeXt V2 or V1, to ONNX or to a program of torch.export, for batches and images of any size.

Depths and channels are those of the checkpoint, whose format is recognised (docs/how_to/weights.md). Input: ``images``
(N, C, H, W) float32, normalised, H and W divisible by 32 and at least 64. Outputs: the maps of the stages in
--out-indices, with output norms where the checkpoint has them. The file is run and compared with the backbone at other
sizes than the one it was traced with; if they differ, it is removed.
"""

import argparse
from pathlib import Path

EXAMPLES = (
    'work_dirs/fcmae/epoch_1600.pth backbone.onnx',
    'timm://convnextv2_base.fcmae backbone.pt2 --out-indices 3',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('checkpoint', help='path, URL or timm://NAME')
    parser.add_argument('target', help='file to write: .onnx or .pt2')
    parser.add_argument('--out-indices', nargs='+', type=int, choices=range(4), default=[0, 1, 2, 3])


def run(args: argparse.Namespace) -> None:
    from mmcnv2.apis import get_backbone
    from mmcnv2.models.weights.exporting import SIZES, export_backbone

    backbone = get_backbone(args.checkpoint, args.out_indices)
    error = export_backbone(backbone, Path(args.target))
    print(f'{args.target}: depths {backbone.depths}, channels {backbone.channels}, stages {backbone.out_indices}')
    print(f'compared at (N, H, W) = {", ".join(map(str, SIZES))}: differs by at most {error:.1e}')
