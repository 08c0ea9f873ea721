"""Make the built-in data set: rendered toy scenes, unlabelled and labelled (docs/toy_scenes.md)."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from mmcnv2.datasets.toy_scenes import CLASSES, Scene, render_scene, write_toy_scenes

_COLOURS = [(66, 133, 244), (219, 68, 55), (244, 180, 0), (15, 157, 88), (171, 71, 188),
            (0, 172, 193)]  # fmt: skip


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


def draw_labels(scene: Scene, zoom: int) -> np.ndarray:
    """The image of ``scene``, enlarged ``zoom`` times, with masks, boxes and class names: RGB."""
    plain = cv2.resize(scene.image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_CUBIC)
    out = plain.copy()
    instances = np.kron(scene.instances, np.ones((zoom, zoom), dtype=np.uint8))
    for k, label in enumerate(scene.labels):
        colour = _COLOURS[label - 1]
        mask = instances == k + 1
        out[mask] = (0.5 * out[mask] + 0.5 * np.array(colour)).astype(np.uint8)
        x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
        cv2.rectangle(out, (x, y), (x + w - 1, y + h - 1), colour, 1)
        text = f'{CLASSES[label - 1]} {scene.visible[k]:.0%}'
        for shade, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
            place = (x + 2, max(y + 11, 11))
            cv2.putText(out, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.38, shade, width, cv2.LINE_AA)
    return np.hstack([plain, out])


def write_preview(path: str, seed: int, image_size: int, count: int = 20, columns: int = 4) -> None:
    """Write a contact sheet of the first ``count`` training images, each plain and labelled."""
    zoom = max(256 // image_size, 1)
    scenes = [render_scene(i, 'train', seed, image_size) for i in range(count)]
    tiles = [cv2.copyMakeBorder(draw_labels(s, zoom), 2, 2, 2, 2, cv2.BORDER_CONSTANT)
             for s in scenes]  # fmt: skip
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, count, columns)]
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(path, np.vstack(rows)[..., ::-1]):
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
