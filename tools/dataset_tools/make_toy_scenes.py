"""Make the built-in data set: rendered toy scenes, unlabelled and labelled (docs/toy_scenes.md)."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from mmcnv2.datasets.toy_scenes import CLASSES, render_scene, write_toy_scenes


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--out', default='data/toy_scenes', help='folder to write')
    parser.add_argument('--num-unlabelled', type=int, default=2000, help='images without labels')
    parser.add_argument('--num-train', type=int, default=100, help='labelled training images')
    parser.add_argument('--num-val', type=int, default=100, help='labelled validation images')
    parser.add_argument('--image-size', type=int, default=96, help='side, a multiple of 32')
    parser.add_argument('--seed', type=int, default=0, help='seed of the data set')
    parser.add_argument('--workers', type=int, default=None, help='processes (None: one per core)')
    parser.add_argument('--force', action='store_true', help='replace toy scenes of other settings')
    parser.add_argument('--preview', metavar='FILE.png', help='only draw this contact sheet of 20 labelled images')
    return parser.parse_args()


def write_preview(path: str, seed: int, image_size: int, count: int = 20, columns: int = 4) -> None:
    """Write a contact sheet of the first ``count`` training images, each plain and labelled.

    Args:
        path: picture file to write; its folder is made if missing.
        seed: seed of the data set.
        image_size: side of the images, which are enlarged to up to 256 pixels.
        count: how many images, a multiple of ``columns``.
        columns: how many of them side by side.
    """
    from mmcnv2.visualization import contact_sheet, draw_instances  # loads the models, which writing does not need

    zoom = max(256 // image_size, 1)
    cells = []
    for i in range(count):
        scene = render_scene(i, 'train', seed, image_size)
        plain = cv2.resize(scene.image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
        instances = np.kron(scene.instances, np.ones((zoom, zoom), dtype=np.uint8))
        masks = instances == np.arange(1, len(scene.labels) + 1)[:, None, None]
        labels = [label - 1 for label in scene.labels]
        texts = [f'{CLASSES[label]} {shown:.0%}' for label, shown in zip(labels, scene.visible, strict=True)]
        cells += [plain, draw_instances(plain, masks, labels, texts)]
    rows = [cells[i : i + 2 * columns] for i in range(0, len(cells), 2 * columns)]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(path, contact_sheet(rows)[..., ::-1]):
        raise OSError(f'cannot write {path}')


def main() -> None:
    args = parse_args()
    try:
        if args.preview:
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
    except (ValueError, OSError) as error:
        raise SystemExit(f'make_toy_scenes: {error}') from error
    print(f'{"wrote" if written else "already there:"} {args.out}')


if __name__ == '__main__':
    main()
