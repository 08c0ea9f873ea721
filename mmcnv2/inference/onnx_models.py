"""Whole models in ONNX, as ``mmcnv2 export`` writes them: what they say of themselves, and what each kind predicts.

The files have the network with normalization, and everything after it that a graph can hold. Before it come the steps
that the file describes, after it what depends on the size of the image file. Nothing here needs mmdet or mmseg.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import mmcv
import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform, CenterCrop, Pad, Resize
from mmengine.config import Config
from torch import Tensor

from mmcnv2.datasets import LoadCheckedImage, LoadImage
from mmcnv2.utils.errors import InputError, MissingFileError, MissingPackageError
from mmcnv2.version import __version__

from .preparation import Preparation
from .results import Classification, Detections, Segmentation
from .tasks import Classifying, Detection, Given, SemanticSegmentation, Task

#: The key of each value in the file's metadata; values are JSON.
_PREFIX = 'mmcnv2.'


class ResizeEdge(BaseTransform):
    """mmpretrain's transform of this name without mmpretrain, see there."""

    def __init__(self, scale: int, edge: str = 'short', backend: str = 'cv2', interpolation: str = 'bilinear') -> None:
        self.scale, self.edge, self.backend, self.interpolation = scale, edge, backend, interpolation

    def transform(self, results: dict) -> dict:
        """Resize ``img``, so that one edge, short, long, width or height, is ``scale`` pixels long."""
        height, width = results['img'].shape[:2]
        if (
            self.edge == 'width'
            or (self.edge == 'short' and width < height)
            or (self.edge == 'long' and width > height)
        ):
            size = (self.scale, int(self.scale * height / width))
        else:
            size = (int(self.scale * width / height), self.scale)
        results['img'] = mmcv.imresize(results['img'], size, interpolation=self.interpolation, backend=self.backend)
        return results


#: What the steps of a description can be: the first of them reads an image.
READERS = {'LoadImageFromFile': LoadCheckedImage, 'LoadImage': LoadImage}
TRANSFORMS = {'Resize': Resize, 'Pad': Pad, 'CenterCrop': CenterCrop, 'ResizeEdge': ResizeEdge}


@dataclass(kw_only=True)
class Description:
    """What a file says of its model.

    Attributes:
        task: 'detection', 'segmentation', 'classification' or 'features'.
        classes: Their names.
        steps: What is done with an image file, first by the reader: transforms of OpenMMLab by name, with arguments.
        channels: Bands of an image.
        pad_divisor: Both sides become a multiple of it, by padding on the right and below.
        pad_size: Height and width to which smaller images are padded; None: as they are.
        pad_value: One number for each band.
        settings: What the model does after the graph: ``nms`` and ``soft_nms`` of detectors; ``first_label``,
            ``threshold``, ``align_corners``, ``crop_size`` and ``stride`` (None: whole images) of segmenters.
        precision: 'fp32', 'fp16' or 'int8'.
        version: Of the package that has written it.
    """

    task: str
    classes: tuple[str, ...]
    steps: list[dict[str, Any]]
    channels: int
    pad_divisor: int
    pad_size: Sequence[int] | None
    pad_value: Sequence[float]
    settings: dict[str, Any]
    precision: str = 'fp32'
    version: str = __version__

    def metadata(self) -> dict[str, str]:
        """Return what is written into a file: JSON by key."""
        return {f'{_PREFIX}{key}': json.dumps(value) for key, value in asdict(self).items()}

    @classmethod
    def from_metadata(cls, path: str, metadata: Mapping[str, str]) -> 'Description':
        """Return what a file says.

        Raises:
            InputError: It does not come from ``mmcnv2 export``, or from a later version of it.
        """
        values = {
            key.removeprefix(_PREFIX): json.loads(value) for key, value in metadata.items() if key.startswith(_PREFIX)
        }
        if not values:
            raise InputError(
                f'{path} says nothing of classes and preprocessing: expected a whole model, which '
                '`mmcnv2 export CONFIG CHECKPOINT FILE.onnx` writes'
            )
        try:
            return cls(**values | dict(classes=tuple(values['classes'])))
        except (TypeError, KeyError) as error:
            raise InputError(
                f'{path} was written by mmcnv2 {values.get("version")}, which this version {__version__} does not '
                f'read ({error}): export it again'
            ) from error


class OnnxModel:
    """A file in onnxruntime.

    Args:
        path: The file.
        device: 'auto' (a GPU if onnxruntime has one), 'cpu', 'cuda' or 'cuda:N'.

    Attributes:
        path: The file.
        description: What it says of itself.
        device: 'cpu' or 'cuda'.

    Raises:
        InputError: The file cannot be used, or there is no such device.
        MissingPackageError: onnxruntime is not installed.
    """

    def __init__(self, path: str, device: str = 'auto') -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingPackageError(f'{path} needs onnxruntime: pip install onnxruntime ({error})') from error
        if not os.path.isfile(path):
            raise MissingFileError(f'{path} does not exist (from {os.getcwd()!r})')
        name, _, number = device.partition(':')
        has_gpu = 'CUDAExecutionProvider' in onnxruntime.get_available_providers()
        if name == 'auto':
            name = 'cuda' if has_gpu else 'cpu'
        if name not in ('cpu', 'cuda') or (name == 'cuda' and not has_gpu):
            seen = 'auto, cpu, cuda, cuda:N' if has_gpu else 'auto, cpu'
            raise InputError(f'device must be one of {seen} (what onnxruntime has here), got {device!r}')
        gpu = [('CUDAExecutionProvider', dict(device_id=int(number or 0)))] if name == 'cuda' else []
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors are raised
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=[*gpu, 'CPUExecutionProvider'])
        except Exception as error:
            raise InputError(f'{path} is no ONNX file that onnxruntime reads: {str(error)[:200]}') from error
        self.path = path
        self.device = name
        self.description = Description.from_metadata(path, self._session.get_modelmeta().custom_metadata_map)
        self._names = [output.name for output in self._session.get_outputs()]

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs by name for images (N, C, H, W) float32, RGB from 0 to 255."""
        return dict(zip(self._names, self._session.run(None, dict(images=images)), strict=True))


class OnnxPreparation(Preparation):
    """Reads and prepares images as a file describes it.

    Args:
        description: Of the file.
    """

    def __init__(self, description: Description) -> None:
        steps = [dict(step) for step in description.steps]
        steps[0]['type'] = READERS[steps[0]['type']]
        for step in steps[1:]:
            step['type'] = TRANSFORMS[step['type']]
            step |= {key: _as_tuples(value) for key, value in step.items()}
        super().__init__(Config(dict(test_dataloader=dict(dataset=dict(pipeline=steps)))))
        self.description = description

    def __call__(self, pixels: np.ndarray, path: str | None) -> dict[str, Any]:
        """Return ``inputs`` (C, h, w) float32 RGB, padded, ``img_shape`` before padding, and ``scale_factor``."""
        shape = pixels.shape[:2]
        results = self.rest(dict(img=pixels, img_shape=shape, ori_shape=shape, scale_factor=(1.0, 1.0)))
        image = results['img']
        image = image[..., None] if image.ndim == 2 else image
        if self.gives_bgr(image.shape[2]):
            image = image[..., ::-1]
        if image.shape[2] != self.description.channels:
            raise InputError(
                f'{path or "the array"} has {image.shape[2]} bands, the model takes {self.description.channels}'
            )
        height, width = (
            max(-(-side // self.description.pad_divisor) * self.description.pad_divisor, least)
            for side, least in zip(image.shape[:2], self.description.pad_size or (0, 0), strict=True)
        )
        inputs = np.empty((image.shape[2], height, width), dtype=np.float32)
        inputs[:] = np.array(self.description.pad_value, dtype=np.float32)[:, None, None]
        inputs[:, : image.shape[0], : image.shape[1]] = image.transpose(2, 0, 1)
        return dict(inputs=inputs, img_shape=image.shape[:2], scale_factor=results['scale_factor'])


def _as_tuples(value: Any) -> Any:
    """Return a value of JSON with tuples in place of lists, as transforms take them."""
    if isinstance(value, dict):
        return {key: _as_tuples(inner) for key, inner in value.items()}
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


class OnnxDetection(Detection):
    """Detectors."""

    def predict(self, batch: Sequence[Given]) -> list[Detections]:
        """See the base. Images are computed one after the other."""
        return [self.result(given, self.model(given.prepared['inputs'][None])) for given in batch]

    def result(self, given: Given, sample: dict[str, np.ndarray]) -> Detections:
        """See the base."""
        kept = sample['scores'] >= self.score_threshold
        (height, width), scale = given.prepared['img_shape'], np.array(given.prepared['scale_factor'] * 2, np.float32)
        # The graph knows the padded image; a detector of mmdet clips to the one before.
        boxes = sample['boxes'][kept].clip(0, np.array([width, height] * 2, dtype=np.float32)) / scale
        parts = None
        if 'masks' in sample:
            parts = [(0, 0, _in_own_size(mask, given.pixels.shape[:2], scale)) for mask in sample['masks'][kept]]
        return Detections(
            **self._common(given),
            boxes=boxes,
            scores=sample['scores'][kept],
            labels=sample['labels'][kept],
            parts=parts,
        )

    def surest(
        self, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See the base. By NumPy: mmcv's operators need a compiler to install."""
        kept: list[int] = []
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
        for i in np.argsort(-scores, kind='stable'):
            sides = np.minimum(boxes[i, 2:], boxes[kept, 2:]) - np.maximum(boxes[i, :2], boxes[kept, :2])
            overlaps = sides.clip(0).prod(axis=1)
            unions = areas[i] + areas[kept] - overlaps
            rivals = (labels[kept] == labels[i]) | bool(self.nms.get('class_agnostic'))
            if not (rivals & (overlaps > self.nms['iou_threshold'] * unions)).any():
                kept.append(int(i))
        index = np.array(kept, dtype=np.int64)
        return index, boxes[index], scores[index]


def _in_own_size(mask: np.ndarray, shape: tuple[int, ...], scale: np.ndarray) -> np.ndarray:
    """Return a mask of the padded image as that of the image file, (H, W) bool."""
    height, width = (
        min(round(side * by), most) for side, by, most in zip(shape, scale[1::-1], mask.shape, strict=True)
    )
    mask = mask[:height, :width]
    if mask.shape == shape:
        return mask
    return cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR) >= 0.5


class OnnxSegmentation(SemanticSegmentation):
    """Segmenters, of whole images or of windows that slide over them."""

    def predict(self, batch: Sequence[Given]) -> list[Segmentation]:
        """See the base."""
        logits = self.logits(batch)
        return [
            Segmentation(**self._common(given), label_map=self._labels(one))
            for given, one in zip(batch, logits, strict=True)
        ]

    def logits(self, batch: Sequence[Given]) -> list[Tensor]:
        """See the base."""
        settings = self.model.description.settings
        every = self._of_padded(np.stack([given.prepared['inputs'] for given in batch]), settings)
        found = []
        for given, logits in zip(batch, every, strict=True):
            height, width = given.prepared['img_shape']
            size, corners = given.pixels.shape[:2], settings['align_corners']
            logits = F.interpolate(logits[None, :, :height, :width], size, mode='bilinear', align_corners=corners)[0]
            found.append(logits.sigmoid() if len(logits) == 1 else logits)
        return found

    def _of_padded(self, images: np.ndarray, settings: dict[str, Any]) -> Tensor:
        if settings['crop_size'] is None:
            return torch.from_numpy(self.model(images)['logits'])
        sides = images.shape[2:]
        places = [
            [
                max(min(i * stride + crop, side) - crop, 0)
                for i in range(max(side - crop + stride - 1, 0) // stride + 1)
            ]
            for side, crop, stride in zip(sides, settings['crop_size'], settings['stride'], strict=True)
        ]
        total, count = torch.zeros(1), torch.zeros(sides)
        for top in places[0]:
            for left in places[1]:
                window = np.s_[..., top : top + settings['crop_size'][0], left : left + settings['crop_size'][1]]
                logits = torch.from_numpy(self.model(np.ascontiguousarray(images[window]))['logits'])
                if total.ndim == 1:
                    total = torch.zeros(*logits.shape[:2], *sides)
                total[window] += logits
                count[window] += 1
        return total / count


class OnnxClassifying(Classifying):
    """Classifiers."""

    def predict(self, batch: Sequence[Given]) -> list[Classification]:
        """See the base."""
        logits = self.model(np.stack([given.prepared['inputs'] for given in batch]))['logits']
        return [
            Classification(**self._common(given), label=int(one.argmax()), probabilities=one.numpy())
            for given, one in zip(batch, torch.from_numpy(logits).softmax(dim=1), strict=True)
        ]


def onnx_task(model: OnnxModel, score_threshold: float) -> Task:
    """Return what a file predicts.

    Raises:
        InputError: It is an encoder, which predicts nothing.
    """
    description = model.description
    settings, classes = description.settings, description.classes
    if description.task == 'features':
        raise InputError(f'{model.path} is an encoder: it has features and no predictions; run it in onnxruntime')
    preparation = OnnxPreparation(description)
    if description.task == 'detection':
        return OnnxDetection(model, preparation, classes, score_threshold, settings['nms'])
    if description.task == 'segmentation':
        return OnnxSegmentation(model, preparation, classes, settings['first_label'], settings['threshold'])
    return OnnxClassifying(model, preparation, classes)
