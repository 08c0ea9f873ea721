"""Write one page about a training: curves, classes, confusion, the worst images.

report.html has everything in it and fetches nothing; its plots and tables are PNG and CSV files beside it. Without
--checkpoint it shows what was logged. With it, the model predicts the validation images of its config: AP or IoU of
each class, precision and recall, confusion of boxes, masks or pixels, the worst images beside their annotations.
Several work dirs are compared.
"""

import argparse
from pathlib import Path

EXAMPLES = (
    'work_dirs/mask_rcnn --checkpoint work_dirs/mask_rcnn/iter_90000.pth',
    'work_dirs/from_scratch work_dirs/from_fcmae --out compared',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .arguments import add_allow_pickle, add_device

    parser.add_argument('work_dirs', nargs='+', type=Path, metavar='WORK_DIR', help='work dir of a training')
    parser.add_argument('--checkpoint', help='evaluate this checkpoint of the training')
    parser.add_argument('--out', type=Path, metavar='DIR', help='folder of the report (default: WORK_DIR/report)')
    add_device(parser)
    add_allow_pickle(parser)


def run(args: argparse.Namespace) -> None:
    from mmcnv2.recipes import config_of_work_dir, read_config_file
    from mmcnv2.report import write_report
    from mmcnv2.report.findings import evaluate
    from mmcnv2.utils.errors import InputError, MissingFileError

    for work_dir in args.work_dirs:
        if not work_dir.is_dir():
            raise MissingFileError(f'{work_dir}: no such folder; give the work dir of a training')
    if len(args.work_dirs) > 1 and (args.checkpoint or not args.out):
        raise InputError('several work dirs need --out, and take no --checkpoint')
    out = args.out or args.work_dirs[0] / 'report'
    findings = None
    if args.checkpoint:
        cfg = read_config_file(str(config_of_work_dir(args.work_dirs[0])))
        findings = evaluate(cfg, args.checkpoint, args.device, args.allow_pickle)
    print(write_report(args.work_dirs, out, findings, args.checkpoint))
