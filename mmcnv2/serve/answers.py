"""What a result becomes in an answer."""

import io
import json
from dataclasses import dataclass
from typing import Any

from PIL import Image

from mmcnv2.inference.results import Result, Segmentation
from mmcnv2.inference.writing import coco_of_image, label_map_picture

#: What can be asked for, by what ``mmcnv2 predict`` calls it (``Task.writes``).
FORMATS = {'json': 'json', 'masks': 'label_map', 'pictures': 'picture'}


@dataclass(frozen=True)
class Answer:
    """The body of an answer."""

    body: bytes
    media_type: str


def formats_of(task: Any) -> list[str]:
    """Return what can be asked for of a model, the default first: JSON, of FCMAE a picture."""
    return [name for kind, name in FORMATS.items() if kind in task.writes]


def answer_of(result: Result, format: str, name: str, first_label: int) -> Answer:
    """Return the answer in one of ``FORMATS``.

    Args:
        result: Of the image.
        format: 'json': what ``predictions.json`` of ``mmcnv2 predict`` has of it. 'label_map': a PNG of 8 or 16 bits
            as ``mmcnv2 predict`` writes it. 'picture': a PNG of the image with the result drawn on it.
        name: ``file_name`` in JSON.
        first_label: Of the task.
    """
    if format == 'json':
        return Answer(json.dumps(coco_of_image(result, name, {})).encode(), 'application/json')
    if format == 'label_map':
        assert isinstance(result, Segmentation)
        picture = label_map_picture(result, first_label)
    else:
        picture = Image.fromarray(result.draw())
    file = io.BytesIO()
    picture.save(file, 'PNG')
    return Answer(file.getvalue(), 'image/png')
