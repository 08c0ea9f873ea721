"""Compare the channels of every layer with each other, to see whether a network collapses.

As in arXiv 2301.00808, section 4 and figure 4. A layer is what a block computes after its expansion to 4C channels and
GELU, before GRN if it has one. Its distance is the mean of (1 - cos)/2 over all pairs of channels, then over the
images: 0 if all are alike, 0.5 if they are orthogonal. A network that collapses has a curve near 0 in some layers.
Dead channels are zero or constant over all positions of all images (standard deviation at most 0.001 of the layer's);
saturated ones hardly leave their mean (standard deviation at most 0.1 of it). Beside the checkpoints there is the same
network with random weights.
"""

import argparse

EXAMPLES = (
    'work_dirs/fcmae/epoch_1600.pth --images data/imagenet/val --picture diversity.png --json diversity.json',
    'v1/epoch_800.pth v2/epoch_800.pth timm://convnextv2_atto.fcmae --images photos --picture diversity.png',
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from .arguments import add_feature_arguments

    parser.add_argument(
        'checkpoints', nargs='+', metavar='checkpoint', help='path, URL, hf://owner/name or timm://NAME'
    )
    parser.add_argument('--images', required=True, metavar='DIR', help='folder of images, with its sub-folders')
    parser.add_argument('--picture', metavar='FILE', help='draw a curve for each checkpoint, e.g. FILE.png')
    parser.add_argument('--json', metavar='FILE', help='write all rows')
    parser.add_argument(
        '--max-images', type=int, default=1000, help='at most so many, spread over the folder (default: 1000)'
    )
    add_feature_arguments(parser)
    parser.add_argument('--after-grn', action='store_true', help='measure behind GRN')


def run(args: argparse.Namespace) -> None:
    import json
    from contextlib import ExitStack

    from mmcnv2.evaluation.diversity import DiversityProbe
    from mmcnv2.evaluation.features import image_batches, pool, reported
    from mmcnv2.utils.errors import InputError
    from mmcnv2.utils.files import written_whole
    from mmcnv2.visualization.diversity import draw_diversity

    from .arguments import (
        RANDOM,
        check_feature_arguments,
        check_positive,
        feature_backbone,
        image_folder,
        with_random_weights,
    )

    check_positive(args, 'max_images')
    check_feature_arguments(args)
    samples = image_folder(args.images, args.max_images)
    given = {path: feature_backbone(path, range(4), args.allow_pickle) for path in args.checkpoints}
    backbones = with_random_weights(given)
    probes = {name: DiversityProbe(backbone.to(args.device), args.after_grn) for name, backbone in backbones.items()}
    batches = image_batches(samples, args.image_size, args.batch_size, args.workers)
    num_images = 0
    with ExitStack() as stack:
        for probe in probes.values():
            stack.enter_context(probe)
        for indices, images in reported(batches, len(samples)):
            num_images += len(indices)
            for backbone in backbones.values():
                pool(backbone, images)
    if not num_images:
        raise InputError(f'--images {args.images}: none of {len(samples)} images can be read')

    networks = {name: probe.result() for name, probe in probes.items()}
    print(f'{num_images} images of {args.images}')
    for name, layers in networks.items():
        lowest = min(layers, key=lambda layer: layer.distance)
        channels = sum(layer.channels for layer in layers)
        print(
            f'{name}: distance {sum(layer.distance for layer in layers) / len(layers):.3f} (mean of {len(layers)} '
            f'layers), lowest {lowest.distance:.3f} in {lowest.layer}; {sum(layer.dead for layer in layers)} dead and '
            f'{sum(layer.saturated for layer in layers)} saturated of {channels} channels'
        )
    rows = {name: [layer._asdict() for layer in layers] for name, layers in networks.items()}
    if args.json:
        place = 'after GRN' if args.after_grn else 'before GRN'
        normalization = {name: backbone.normalization._asdict() for name, backbone in backbones.items()}
        settings = dict(images=args.images, num_images=num_images, image_size=args.image_size, place=place)
        settings['normalization'] = normalization
        with written_whole(args.json) as path:
            path.write_text(json.dumps(dict(**settings, networks=rows), indent=1))
    if args.picture:
        draw_diversity(rows, args.picture, reference=RANDOM)
