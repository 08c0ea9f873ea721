"""Find what is wrong in the content of an annotation file in COCO's format."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

#: What each entry must have.
KEYS: dict[str, dict[str, tuple[type, ...]]] = {
    'images': dict(id=(int, str), file_name=(str,), width=(int,), height=(int,)),
    'annotations': dict(id=(int, str), image_id=(int, str), category_id=(int,), bbox=(list,), area=(int, float)),
    'categories': dict(id=(int,), name=(str,)),
}

#: The same of COCO's panoptic format, and of each segment.
PANOPTIC_KEYS: dict[str, dict[str, tuple[type, ...]]] = {
    'images': KEYS['images'],
    'annotations': dict(image_id=(int, str), file_name=(str,), segments_info=(list,)),
    'categories': dict(id=(int,), name=(str,), isthing=(int,)),
}
SEGMENT_KEYS: dict[str, tuple[type, ...]] = dict(
    id=(int,), category_id=(int,), bbox=(list,), area=(int, float), iscrowd=(int,)
)


class Problems:
    """A collection of messages that keeps the first few.

    Attributes:
        count: How many there were.
        shown: The first ones.
    """

    def __init__(self, max_shown: int = 8) -> None:
        self.count = 0
        self.shown: list[str] = []
        self._max_shown = max_shown

    def add(self, message: str) -> None:
        """Count a problem."""
        self.count += 1
        if len(self.shown) < self._max_shown:
            self.shown.append(message)

    def __bool__(self) -> bool:
        return self.count > 0


def check_coco(
    content: Any, classes: Sequence[str], needs_masks: bool, for_training: bool, problems: Problems
) -> None:
    """Look for what mmdet would fail on, or silently train on.

    Boxes that mmdet leaves out (no area, outside the image, marked ``ignore``) are no problem, nor are crowds and
    polygons of fewer than three points, which it treats as regions to ignore.

    Args:
        content: What the file holds.
        classes: Names of the dataset's classes, in order.
        needs_masks: Whether the pipeline loads masks, so that every box needs one.
        for_training: Whether there must be boxes; files of test images have none.
        problems: Collects what is found.
    """
    if not isinstance(content, dict):
        problems.add(f'expected an object with {", ".join(KEYS)}, got a {type(content).__name__}')
        return
    for part, keys in KEYS.items():
        if part == 'annotations' and not for_training:
            content.setdefault(part, [])
        if not isinstance(content.get(part), list):
            problems.add(f'{part!r} is missing or no list')
            continue
        for i, entry in enumerate(content[part]):
            for message in entry_problems(entry, keys):
                problems.add(f'{part}[{i}]{_id(entry)}: {message}')
        ids = [entry.get('id') for entry in content[part] if isinstance(entry, dict)]
        for twice in repeated(ids):
            problems.add(f'{part}: the id {twice!r} is there more than once')
    if problems:
        return  # what follows relies on the keys
    _check_categories([entry['name'] for entry in content['categories']], classes, problems)
    images = {image['id']: image for image in content['images']}
    for image in content['images']:
        if min(image['width'], image['height']) <= 0:
            problems.add(f'image {image["id"]}: width and height must be positive')
    category_ids = {category['id'] for category in content['categories']}
    has_boxes = False
    for annotation in content['annotations']:
        image = images.get(annotation['image_id'])
        messages = list(annotation_problems(annotation, image, category_ids, needs_masks))
        for message in messages:
            problems.add(f'annotation {annotation["id"]}: {message}')
        has_boxes = has_boxes or (image is not None and not messages and is_kept(annotation, image))
    if for_training and not problems and not has_boxes:
        problems.add('no annotation is left that mmdet would train on: all are empty, outside or ignored')


def check_coco_panoptic(content: Any, classes: Sequence[str], for_training: bool, problems: Problems) -> None:
    """Look for what mmdet would fail on in a file of COCO's panoptic format: one entry an image, with its segments.

    Args:
        content: What the file holds.
        classes: Names of the dataset's classes, in order.
        for_training: Whether there must be segments.
        problems: Collects what is found.
    """
    if not isinstance(content, dict):
        problems.add(f'expected an object with {", ".join(PANOPTIC_KEYS)}, got a {type(content).__name__}')
        return
    for part, keys in PANOPTIC_KEYS.items():
        if not isinstance(content.get(part), list):
            problems.add(f'{part!r} is missing or no list')
            continue
        for i, entry in enumerate(content[part]):
            for message in entry_problems(entry, keys):
                problems.add(f'{part}[{i}]{_id(entry)}: {message}')
    if problems:
        return  # what follows relies on the keys
    _check_categories([entry['name'] for entry in content['categories']], classes, problems)
    image_ids = {image['id'] for image in content['images']}
    category_ids = {category['id'] for category in content['categories']}
    num_segments = 0
    for annotation in content['annotations']:
        where = f'annotation of image {annotation["image_id"]}'
        if annotation['image_id'] not in image_ids:
            problems.add(f'{where}: the image is not among the images')
        for segment in annotation['segments_info']:
            num_segments += 1
            messages = list(entry_problems(segment, SEGMENT_KEYS))
            if not messages and segment['category_id'] not in category_ids:
                messages = [f'category_id {segment["category_id"]} is not among the categories']
            for message in messages:
                problems.add(f'{where}: segment{_id(segment)}: {message}')
    if for_training and not problems and not num_segments:
        problems.add('no image has a segment')


def has_boxes_only(content: Any) -> bool:
    """Return whether there are boxes and none of them has a mask, as in data for detection."""
    annotations = content.get('annotations') if isinstance(content, dict) else None
    if not isinstance(annotations, list) or not annotations:
        return False
    return all(isinstance(entry, dict) and 'bbox' in entry and not entry.get('segmentation') for entry in annotations)


def entry_problems(entry: Any, keys: Mapping[str, tuple[type, ...]]) -> Iterator[str]:
    """Yield what is wrong with the keys of an image, an annotation or a category."""
    if not isinstance(entry, dict):
        yield f'expected an object, got {entry!r:.40}'
        return
    for key, kinds in keys.items():
        if key not in entry:
            yield f'{key!r} is missing'
        elif not isinstance(entry[key], kinds) or isinstance(entry[key], bool):
            yield f'{key!r} must be {" or ".join(kind.__name__ for kind in kinds)}, got {entry[key]!r:.40}'


def _check_categories(names: list[str], classes: Sequence[str], problems: Problems) -> None:
    """Check names and order: mmdet numbers labels in the order of the file and leaves out names that it lacks."""
    for twice in repeated(names):
        problems.add(f'categories: the name {twice!r} is there more than once')
    absent = [name for name in classes if name not in names]
    if absent:
        problems.add(
            f'categories lack {len(absent)} of the {len(classes)} classes of the dataset, e.g. {absent[:3]}, and the '
            f'labels of the others would shift; they are {names[:5]}. Set metainfo=dict(classes=...) of the dataset'
        )
    elif [name for name in names if name in classes] != list(classes):
        problems.add(
            'categories have another order than the classes of the dataset, and mmdet numbers by the file: '
            f'{names[:5]} and {list(classes[:5])}. Set metainfo=dict(classes=...) of the dataset in that order'
        )


def annotation_problems(
    annotation: dict, image: dict | None, category_ids: set[int], needs_masks: bool
) -> Iterator[str]:
    """Yield what is wrong with an annotation that has its keys, of an image (None: there is none)."""
    if annotation['category_id'] not in category_ids:
        yield f'category_id {annotation["category_id"]} is not among the categories'
    if image is None:
        yield f'image_id {annotation["image_id"]} is not among the images'
        return
    box = annotation['bbox']
    if len(box) != 4 or not _all_finite(box):
        yield f'bbox must be four finite numbers (x, y, width, height), got {box!r:.60}'
        return
    if not _all_finite([annotation['area']]):
        yield f'area must be finite, got {annotation["area"]}'
    mask = annotation.get('segmentation')
    if mask:
        yield from _mask_problems(mask, image['height'], image['width'])
    elif needs_masks and is_kept(annotation, image):
        yield 'segmentation is missing or empty, and the pipeline loads masks (with_mask=True)'


def is_kept(annotation: dict, image: dict) -> bool:
    """Return whether mmdet makes an instance of it."""
    x, y, width, height = annotation['bbox']
    inside = min(x + width, image['width']) > max(x, 0) and min(y + height, image['height']) > max(y, 0)
    return inside and width >= 1 and height >= 1 and annotation['area'] > 0 and not annotation.get('ignore')


# ---- masks ----


def _mask_problems(mask: Any, height: int, width: int) -> Iterator[str]:
    if isinstance(mask, list):
        for polygon in mask:
            if not isinstance(polygon, list) or not _all_finite(polygon):
                yield f'segmentation must be lists of finite numbers x, y, x, y ..., got {polygon!r:.60}'
            elif not (_is_near(polygon[0::2], width) and _is_near(polygon[1::2], height)):
                yield f'segmentation has points farther outside than the image ({width}x{height}) is large'
    elif isinstance(mask, dict):
        counts, size = mask.get('counts'), mask.get('size')
        if size != [height, width]:
            yield f'segmentation has size {size} (height, width), its image [{height}, {width}]'
        elif not _is_run_lengths(counts, height * width):
            yield f'segmentation: the run lengths in counts must add up to {height} x {width}'
    else:
        yield f'segmentation must be polygons or run lengths, got {mask!r:.60}'


def _is_run_lengths(counts: Any, total: int) -> bool:
    if isinstance(counts, str):
        counts = _decoded(counts)
    if not isinstance(counts, list) or not all(isinstance(run, int) and run >= 0 for run in counts):
        return False
    return sum(counts) == total


def _decoded(text: str) -> list[int] | None:
    """Decode the run lengths in COCO's compressed string.

    A character has 5 bits, lowest first; 32 says that more follow, and the highest bit of the last is the sign. From
    the fourth run on, it is the difference from the run before the last.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return runs if shift == 0 else None


def _id(entry: Any) -> str:
    return f' (id {entry["id"]})' if isinstance(entry, dict) and 'id' in entry else ''


def _all_finite(values: list) -> bool:
    try:
        return math.isfinite(sum(values))
    except (TypeError, OverflowError):  # not numbers, or too large for a float
        return False


def _is_near(coordinates: list[float], size: int) -> bool:
    """Return whether all lie within the image or no farther outside than it is large."""
    return not coordinates or (-size <= min(coordinates) and max(coordinates) <= 2 * size)


def repeated(values: list) -> list:
    """Return values that occur more than once; dicts and lists, which cannot be ids, are left out."""
    seen: set[int | str] = set()
    twice: dict[int | str, None] = {}
    for value in values:
        if isinstance(value, int | str):
            if value in seen:
                twice[value] = None
            seen.add(value)
    return list(twice)
