"""Count parameters and multiply-adds of the model of a config, for one image, dense and masked.

Multiply-adds (MACs) are those of convolutions, with every tap of a kernel, and of matrix products in a forward pass;
biases, norms, activations, resizing and RoIAlign are not counted. The pass is

  FCMAE       the loss: encoder, decoder, pixels of the removed patches. 'dense' encodes the full grid, 'masked' the
              visible tokens only. (A backend may do more than that: 'torch' computes the depthwise convolutions, 1.5 %
              of a dense base, on the full grid.)
  detectors   mmdet's mode 'tensor': the box head on as many proposals as test_cfg.rpn.max_per_img allows, the mask
              head on the first 100 of them (mmdet's cascade: each of its mask heads on all of them)
  segmenters  mmseg's mode 'tensor': without the auxiliary head, which only training uses

Tensors are fake, with a shape and no values: nothing is computed, and neither weights nor data are needed.
"""

import argparse

EXAMPLES = (
    'mmcnv2::fcmae/fcmae_convnextv2-base_64xb64-amp-coslr-1600e_in1k.py',
    'mmcnv2::toy/mask-rcnn_convnextv2-atto_toy-scenes.py --shape 128 128 --json flops.json',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .arguments import add_config_file

    add_config_file(parser)
    parser.add_argument(
        '--shape',
        nargs=2,
        type=int,
        metavar=('H', 'W'),
        help='height and width of the image, multiples of 32 (default: those of the training images)',
    )
    parser.add_argument(
        '--mask-ratio',
        type=float,
        metavar='R',
        help='share of removed patches, in (0, 1) (default: that of FCMAE; of other models it masks the backbone)',
    )
    parser.add_argument('--json', metavar='FILE', help='save the numbers, not rounded')


def run(args: argparse.Namespace) -> None:
    import json
    from dataclasses import asdict
    from pathlib import Path

    from mmcnv2.benchmarks.flops import count, table, title

    from .arguments import read_config

    facts, total = count(read_config(args.config, args.cfg_options), args.shape, args.mask_ratio)
    print(f'{title(facts)}\n\n{table(total)}\n\nMACs: multiply-adds of convolutions and matrix products (see --help)')
    if args.json:
        numbers = dict(config=args.config) | facts | asdict(total)
        Path(args.json).write_text(json.dumps(numbers, indent=2) + '\n')
