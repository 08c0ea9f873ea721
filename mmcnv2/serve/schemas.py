"""What ``/openapi.json`` says of requests and answers."""

from typing import Any, Literal

from pydantic import BaseModel, Field

from .answers import FORMATS

Format = Literal['json', 'label_map', 'picture']
assert {*FORMATS.values()} == {*Format.__args__}  # type: ignore[attr-defined]


class Parameters(BaseModel, extra='forbid'):
    """Of a request to ``/predict``."""

    format: Format | None = Field(
        None,
        description='json: COCO results of this image (default; not of FCMAE). label_map: PNG with the class of each '
        'pixel, of segmenters. picture: PNG of the image with the result drawn on it (default of FCMAE)',
    )
    score_threshold: float | None = Field(
        None,
        ge=0,
        le=1,
        description='leave out objects with a lower score, of detectors (default: as the server is set)',
    )


class CocoImage(BaseModel):
    """The image."""

    id: int
    file_name: str
    width: int
    height: int


class Category(BaseModel):
    """A class."""

    id: int
    name: str


class RunLengths(BaseModel):
    """A mask, (height, width) in ``size``, compressed as pycocotools does."""

    size: list[int]
    counts: str


class Annotation(BaseModel):
    """An object of a detector, the region of a class of a segmenter, the class of a classifier."""

    id: int
    image_id: int
    category_id: int
    iscrowd: int
    bbox: list[float] = Field(default=[], description='x, y, width, height in pixels; not of classifiers')
    area: float = Field(default=0, description='pixels; not of classifiers')
    segmentation: RunLengths | None = Field(None, description='of segmenters and of detectors with masks')
    score: float | None = Field(None, description='0 to 1; not of segmenters')


class Predictions(BaseModel):
    """COCO results with ``images`` and ``categories``, as ``mmcnv2 predict`` writes them."""

    info: dict[str, Any]
    categories: list[Category]
    images: list[CocoImage]
    annotations: list[Annotation]


class Error(BaseModel):
    """What was wrong, in one line."""

    error: str


class Health(BaseModel):
    """Whether images are predicted."""

    status: Literal['ready']
    model: str = Field(description='type of the model')


_FILE = {'type': 'string', 'format': 'binary'}
BODY: dict[str, Any] = {
    'requestBody': {
        'required': True,
        'content': {
            'multipart/form-data': {
                'schema': {'type': 'object', 'properties': {'image': _FILE}, 'required': ['image']}
            },
            'image/*': {'schema': _FILE},
            'application/octet-stream': {'schema': _FILE},
        },
    }
}
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {'model': Error, 'description': description}
    for status, description in {
        400: 'A parameter or the form is wrong',
        401: 'The token is missing or wrong',
        408: 'The body took too long',
        413: 'The body or the image is too large',
        415: 'The Content-Type is that of something else',
        422: 'The image cannot be read',
        500: 'The model failed on this image',
        503: 'Too many requests, or the model has stopped',
    }.items()
}
