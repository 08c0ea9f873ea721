"""Convert weights of a ConvNeXt V2 or V1 between the formats of this project, the official code, timm and others.

The format of the input is detected. The backbone and a classifier's norm and linear layer, or a whole FCMAE, are
converted, bit for bit; what the new format has no room for is listed. (To start a training from such weights no
conversion is needed, see docs/how_to/weights.md.)
"""

import argparse

EXAMPLES = (
    'work_dirs/fcmae/epoch_1600.pth base.safetensors --to timm',
    'timm://convnextv2_base.fcmae base.pth --to mmcnv2',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .arguments import add_allow_pickle

    parser.add_argument('source', help='path, URL, hf://owner/name or timm://NAME')
    parser.add_argument('target', help='file to write: .safetensors, or any other name for torch.save')
    parser.add_argument(
        '--to',
        required=True,
        help='format of the new file: mmcnv2, official, timm, mmpretrain, transformers (of a ConvNeXt V2), '
        'official-fcmae (a whole FCMAE with ConvNeXt V2, for the official pre-training), '
        '"transformers, ConvNext" or torchvision (of a ConvNeXt V1)',
    )
    add_allow_pickle(parser)


def run(args: argparse.Namespace) -> None:
    from mmcnv2.models.weights.converting import convert_state_dict
    from mmcnv2.models.weights.reading import read_state_dict
    from mmcnv2.models.weights.writing import write_state_dict
    from mmcnv2.utils.errors import errors_name

    given = read_state_dict(args.source, args.allow_pickle)
    with errors_name(args.source):
        state_dict, found, left_out = convert_state_dict(given, args.to)
    write_state_dict(state_dict, args.target, args.to)
    print(f'{args.target}: {len(state_dict)} tensors, from {found} to {args.to}')
    if left_out:
        print(f'left out: {", ".join(left_out[:10])}{f" and {len(left_out) - 10} more" if left_out[10:] else ""}')
