"""Folders as strangers have them, made small: images with boxes, masks, label maps or class folders."""

import json

import numpy as np
from PIL import Image

SIZE = 96  # height; images are wider


def picture(path, seed, width=128, height=SIZE, mode='RGB'):
    """Writes an image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def rectangle(x, y, width, height):
    """A mask as a polygon."""
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def instances(names, classes=('cat', 'dog'), first_id=1, masks=True, per_image=2):
    """The content of a COCO file with some objects in each image."""
    images = [dict(id=first_id + i, file_name=name, width=128, height=SIZE) for i, name in enumerate(names)]
    annotations = []
    for image in images:
        for j in range(per_image):
            x, y, width, height = 10 + 40 * j, 20, 32, 40
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image['id'],
                    category_id=1 + j % len(classes),
                    bbox=[x, y, width, height],
                    area=width * height,
                    iscrowd=0,
                    segmentation=rectangle(x, y, width, height) if masks else [],
                )
            )
    categories = [dict(id=i, name=name) for i, name in enumerate(classes, 1)]
    return dict(images=images, annotations=annotations, categories=categories)


def coco_folder(root, number=6, annotations='annotations/instances_train.json', folder='train', **options):
    """Images and their annotation file, without a validation part; returns the content of the file."""
    names = [f'bild {i} äöü.png' for i in range(number)]
    for i, name in enumerate(names):
        picture(root / folder / name, i)
    content = instances(names, **options)
    write_json(root / annotations, content)
    return content


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding='utf-8')


def label_map_folder(root, values=(0, 1), number=6, dtype=np.uint8, images='images', labels='masks', ending='.png'):
    """Images and label maps with these values in stripes."""
    for i in range(number):
        picture(root / images / f'photo {i}.png', i)
        (root / labels).mkdir(parents=True, exist_ok=True)
        stripes = np.repeat(np.array(values)[np.arange(SIZE) % len(values), None], 128, axis=1)
        Image.fromarray(stripes.astype(dtype)).save(root / labels / f'photo {i}{ending}')


def class_folders(root, classes=('cat', 'dog', 'große Maus'), number=6):
    for i, name in enumerate(classes):
        for j in range(number):
            picture(root / name / f'{j}.png', 100 * i + j)


VOC = (
    """<annotation><filename>{name}</filename><size><width>0</width><height>0</height></size>{objects}</annotation>"""
)
VOC_OBJECT = (
    '<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin>'
    '<xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>'
)


def voc_folder(root, number=6):
    """Pascal VOC's layout: ``Annotations`` and ``JPEGImages``, without lists."""
    for i in range(number):
        picture(root / f'JPEGImages/cell {i}.jpg', i)
        objects = [('RBC', 0, (11, 21, 42, 60)), ('WBC', int(i == 0), (51, 21, 82, 60))]
        text = ''.join(VOC_OBJECT.format(name=name, difficult=difficult, box=box) for name, difficult, box in objects)
        path = root / f'Annotations/cell {i}.xml'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(VOC.format(name=f'cell {i}.jpg', objects=text))


def yolo_folder(
    root, number=6, line='1 0.5 0.5 0.25 0.5\n0 0.25 0.25 0.125 0.25', parts=('train',), names=('cat', 'dog')
):
    """Ultralytics' layout, ``images`` and ``labels`` with a folder a part, and ``data.yaml``."""
    for part in parts:
        for i in range(number):
            picture(root / f'images/{part}/coin {i}.png', i)
            label = root / f'labels/{part}/coin {i}.txt'
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text(f'{line}\n')
    places = ''.join(f'{part}: images/{part}\n' for part in parts)
    (root / 'data.yaml').write_text(
        f'path: .\n{places}names:\n' + ''.join(f'  {i}: {n}\n' for i, n in enumerate(names))
    )
