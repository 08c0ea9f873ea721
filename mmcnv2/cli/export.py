"""Export a whole model to ONNX, or a backbone to ONNX or to a program of torch.export.

With a config: the whole model, for `mmcnv2 predict model.onnx` and any other runtime. Input: ``images`` (N, 3, H, W)
float32, RGB from 0 to 255, H and W divisible by 32, normalised inside; as many bands as the model takes. Outputs: of a
segmenter ``logits`` (N, classes, H, W); of a detector, for N = 1, ``boxes`` (n, 4), ``scores`` and ``labels`` (n,) and
``masks`` (n, H, W) bool; of a classifier ``logits`` (N, classes); of an FCMAE the maps of its encoder. The file says
classes, task and preprocessing in its metadata. It is compared with the model on images of the config's data, and the
metrics of the validation set are computed of both; if they differ, it is removed.

With a checkpoint alone: the backbone in it, ConvNeXt V2 or V1, of depths and channels as the checkpoint says, whose
format is recognised (docs/how_to/weights.md). Input: ``images`` (N, C, H, W) float32, normalised, H and W divisible by
32 and at least 64. Outputs: the maps of the stages in --out-indices, with output norms where the checkpoint has them.
The file is compared with the backbone at other sizes than the one it was traced with; if they differ, it is removed.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmcnv2.export import Report

EXAMPLES = (
    'my_config.py work_dirs/my_config/iter_90000.pth model.onnx --precision int8 --images 500',
    'timm://convnextv2_base.fcmae backbone.pt2 --out-indices 3',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .arguments import add_allow_pickle, add_cfg_options

    parser.add_argument(
        'config',
        nargs='?',
        help='config of a whole model: a file, or mmcnv2::folder/NAME.py; none: the backbone alone',
    )
    parser.add_argument('checkpoint', help='path, URL or hf://owner/name; of a backbone also timm://NAME')
    parser.add_argument('target', help='file to write: .onnx, of a backbone also .pt2')
    whole = parser.add_argument_group('whole models')
    add_cfg_options(whole)
    whole.add_argument(
        '--precision',
        default='fp32',
        choices=('fp32', 'fp16', 'int8'),
        help='fp16: weights and maps of the network in float16; int8: its convolutions and linear layers in 8 bits '
        '(default: fp32)',
    )
    whole.add_argument(
        '--images',
        type=int,
        metavar='N',
        help='compute the metrics of the first N images of the validation set; 0: none (default: all)',
    )
    whole.add_argument(
        '--calibration-images',
        type=int,
        default=32,
        metavar='N',
        help='training images of which int8 takes the ranges of values (default: 32)',
    )
    add_allow_pickle(parser)
    backbones = parser.add_argument_group('backbones')
    backbones.add_argument(
        '--out-indices', nargs='+', type=int, choices=range(4), help='stages, from 0 (default: 0 1 2 3)'
    )


def run(args: argparse.Namespace) -> None:
    from mmcnv2.utils.errors import InputError

    if args.config is None:
        if args.cfg_options or args.precision != 'fp32' or args.images is not None:
            raise InputError('--cfg-options, --precision and --images are for whole models: give a config as well')
        _export_backbone(args)
        return
    if args.out_indices:
        raise InputError('--out-indices is for backbones: leave out the config')
    _export_model(args)


def _export_backbone(args: argparse.Namespace) -> None:
    from mmcnv2.apis import get_backbone
    from mmcnv2.models.weights.exporting import SIZES, export_backbone

    backbone = get_backbone(args.checkpoint, args.out_indices or (0, 1, 2, 3), args.allow_pickle)
    error = export_backbone(backbone, Path(args.target))
    print(f'{args.target}: depths {backbone.depths}, channels {backbone.channels}, stages {backbone.out_indices}')
    print(f'compared at (N, H, W) = {", ".join(map(str, SIZES))}: differs by at most {error:.1e}')


def _export_model(args: argparse.Namespace) -> None:
    from mmcnv2.apis import Predictor
    from mmcnv2.export import export_model
    from mmcnv2.utils.errors import InputError

    from .arguments import check_positive, read_config

    target = Path(args.target)
    if target.suffix != '.onnx':
        raise InputError(f'the target of a whole model must end in .onnx, got {target}')
    if args.images is not None and args.images < 0:
        raise InputError(f'--images must be at least 0, got {args.images}')
    check_positive(args, 'calibration_images')
    cfg = read_config(args.config, args.cfg_options)
    predictor = Predictor(cfg, args.checkpoint, 'cpu', allow_pickle=args.allow_pickle)
    report = export_model(predictor, target, args.precision, args.images, args.calibration_images)
    print('\n'.join(_lines(report, target, args.precision)))


def _lines(report: 'Report', target: Path, precision: str) -> list[str]:
    """Return what an export did, for people."""
    assert report.differences is not None
    source = (
        'of the config' if report.images_are_real else 'rendered here, since the data of the config cannot be read'
    )
    lines = [
        f'{target}: {report.task}, {precision}, {report.megabytes:.1f} MB',
        f'operators: {", ".join(report.operators)}',
        f'compared in fp32 on {report.differences.images} images {source}: {report.differences.text}',
    ]
    if report.has_soft_nms:
        lines.append('Soft-NMS has no ONNX operator: the file has NMS, which it was compared with; the cost is below')
    if report.calibration:
        lines.append(f'ranges of int8: {report.calibration} training images')
    if report.cost is not None:
        lines.append(f'compared in {precision} on the same images: {report.cost.text}')
    if not report.scores:
        return [*lines, f'metrics before and after: not measured ({report.no_scores})']
    lines += [f'{report.images} of {report.all_images} validation images:', '']
    lines += [f'| metric | {" | ".join(report.scores)} |', f'|{" --- |" * (len(report.scores) + 1)}']
    for name in report.scores['model']:
        values = (f'{scores[name]:.4f}' for scores in report.scores.values())
        lines.append(f'| {name} | {" | ".join(values)} |')
    return lines
