"""Make labels in COCO's panoptic format of instance annotations and label maps.

python tools/coco_panoptic.py data/coco data/coco_panoptic

Reads annotations/instances_SPLIT.json and semantic/SPLIT/*.png (80 things in the order of the file's categories, then
stuff, with 255 for none; the names are in semantic/classes.txt), and writes panoptic_SPLIT.json and
panoptic_SPLIT/*.png. The number of a category is its label + 1. A pixel of a thing belongs to the smallest instance of
its class there; one that no instance has is left without a label, as are crowds.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools.coco import COCO

from mmcnv2.utils.errors import InputError
from mmcnv2.utils.panopticapi import id2rgb

IGNORED = 255


def segments_of(label_map: np.ndarray, things: list[tuple[int, np.ndarray]], num_things: int) -> tuple:
    """Return the numbers of segments (H, W), from 1, and the label of each.

    Args:
        label_map: (H, W) uint8, the class of each pixel.
        things: The label of each instance and where it is, (H, W) bool.
        num_things: Labels below are things.
    """
    numbers = np.zeros(label_map.shape, np.int64)
    labels: list[int] = []
    for label, mask in sorted(things, key=lambda thing: -thing[1].sum()):  # the smallest last, over the others
        if (where := mask & (label_map == label)).any():
            labels.append(label)
            numbers[where] = len(labels)
    for label in np.unique(label_map[(label_map >= num_things) & (label_map != IGNORED)]).tolist():
        labels.append(label)
        numbers[label_map == label] = len(labels)
    # One that others cover whole is no segment.
    return numbers, {number: label for number, label in enumerate(labels, 1) if (numbers == number).any()}


def convert(source: Path, target: Path, split: str) -> int:
    """Write the labels of a split, and return of how many images."""
    annotations = source / f'annotations/instances_{split}.json'
    names = (source / 'semantic/classes.txt').read_text().splitlines()
    coco = COCO(str(annotations))
    label_of = {category: label for label, category in enumerate(sorted(coco.cats))}
    folder = target / f'panoptic_{split}'
    folder.mkdir(parents=True, exist_ok=True)
    content: dict = dict(
        images=[],
        annotations=[],
        categories=[
            dict(id=label + 1, name=name, isthing=int(label < len(label_of))) for label, name in enumerate(names)
        ],
    )
    for image_id, info in sorted(coco.imgs.items()):
        stem = Path(info['file_name']).stem
        if not (path := source / f'semantic/{split}/{stem}.png').is_file():
            continue
        label_map = np.array(Image.open(path))
        if label_map.shape != (info['height'], info['width']):
            raise InputError(f'{path}: expected {info["height"]} x {info["width"]} pixels, got {label_map.shape}')
        instances = [
            (label_of[annotation['category_id']], coco.annToMask(annotation).astype(bool))
            for annotation in coco.imgToAnns[image_id]
            if not annotation.get('iscrowd')
        ]
        numbers, labels = segments_of(label_map, instances, len(label_of))
        Image.fromarray(id2rgb(numbers)).save(folder / f'{stem}.png')
        segments = []
        for number, label in labels.items():
            y, x = np.nonzero(numbers == number)
            box = [int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1]
            segments.append(dict(id=number, category_id=label + 1, iscrowd=0, area=len(x), bbox=box))
        content['images'].append(info)
        content['annotations'].append(dict(image_id=image_id, file_name=f'{stem}.png', segments_info=segments))
    if not content['images']:
        raise InputError(
            f'{source / "semantic" / split}: expected label maps, PNG files named as the images, found none'
        )
    (target / f'panoptic_{split}.json').write_text(json.dumps(content))
    return len(content['images'])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('source', type=Path, help='folder with annotations/ and semantic/')
    parser.add_argument('target', type=Path, help='folder to write to')
    parser.add_argument('--splits', nargs='+', default=['train2017', 'val2017'])
    args = parser.parse_args()
    for split in args.splits:
        try:
            print(f'{split}: {convert(args.source, args.target, split)} images')
        except (InputError, FileNotFoundError) as error:
            parser.error(str(error))


if __name__ == '__main__':
    main()
