"""Make the built-in data set: rendered toy scenes, unlabelled and labelled (docs/reference/toy_scenes.md)."""

import argparse

EXAMPLES = ('--out data/toy_scenes', '--preview toy_scenes.png')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    def add(name: str, default: int | str, help: str) -> None:
        parser.add_argument(name, type=type(default), default=default, help=f'{help} (default: {default})')

    add('--out', 'data/toy_scenes', 'folder to write')
    add('--num-unlabelled', 2000, 'images without labels')
    add('--num-train', 300, 'labelled training images')
    add('--num-val', 100, 'labelled validation images')
    add('--image-size', 128, 'side, a multiple of 32')
    add('--seed', 0, 'seed of the data set')
    parser.add_argument('--workers', type=int, help='processes (default: one per core)')
    parser.add_argument('--force', action='store_true', help='replace toy scenes with other settings')
    parser.add_argument('--preview', metavar='FILE.png', help='only draw this contact sheet of 20 labelled images')


def run(args: argparse.Namespace) -> None:
    from mmcnv2.toy_scenes import write_toy_scenes

    if args.preview:
        from mmcnv2.visualization.toy_scenes import write_preview

        write_preview(args.preview, args.seed, args.image_size)
        print(f'wrote {args.preview}')
        return
    written = write_toy_scenes(
        args.out,
        num_unlabelled=args.num_unlabelled,
        num_train=args.num_train,
        num_val=args.num_val,
        image_size=args.image_size,
        seed=args.seed,
        workers=args.workers,
        force=args.force,
    )
    print(f'{"wrote" if written else "already there:"} {args.out}')
