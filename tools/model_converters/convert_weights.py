"""Converts weights of a ConvNeXt V2 between the layouts of this project, the official code, timm and others.

    python tools/model_converters/convert_weights.py work_dirs/.../epoch_1600.pth base.safetensors --to timm
    python tools/model_converters/convert_weights.py timm://convnextv2_base.fcmae base.pth --to mmcnv2

The layout of the input is recognised. Backbone and, of a classifier, norm and linear layer are converted, bit for bit;
what the new layout has no place for is listed. (To start from such weights no conversion is needed: docs/weights.md.)
"""

import argparse
import os
import sys
from pathlib import Path

import torch
from torch import Tensor

import mmcnv2  # noqa: F401
from mmcnv2.models.weights import read_state_dict
from mmcnv2.models.weights.converting import WRITABLE, convert_state_dict

NESTED_UNDER = {'mmcnv2': 'state_dict', 'official': 'model', 'mmpretrain': 'state_dict'}  # in a file of torch.save


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', help='path, URL or timm://NAME')
    parser.add_argument('target', help='file to write: .safetensors, or any other name for torch.save')
    parser.add_argument('--to', choices=WRITABLE, required=True, help='layout of the new file')
    parser.add_argument('--allow-pickle', action='store_true', help='read a source that could run code')
    return parser.parse_args()


def write(state_dict: dict[str, Tensor], target: Path, layout: str) -> None:
    """Writes a file whole or not at all."""
    part = target.with_name(target.name + '.part')
    if target.suffix == '.safetensors':
        from safetensors.torch import save_file

        save_file(state_dict, part)
    else:
        nested = NESTED_UNDER.get(layout)
        torch.save({nested: state_dict} if nested else state_dict, part)
    os.replace(part, target)


def main() -> None:
    args = parse_args()
    target = Path(args.target)
    try:
        given = read_state_dict(args.source, args.allow_pickle)
        state_dict, found, left_out = convert_state_dict(given, args.to)
        target.parent.mkdir(parents=True, exist_ok=True)
        write(state_dict, target, args.to)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f'error: {args.source}: {error}')
    print(f'{target}: {len(state_dict)} tensors, from {found} to {args.to}')
    if left_out:
        print(f'left out: {", ".join(left_out[:10])}{f" and {len(left_out) - 10} more" if left_out[10:] else ""}')


if __name__ == '__main__':
    main()
