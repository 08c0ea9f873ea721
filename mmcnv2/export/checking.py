"""Whether a written file has the outputs of the model itself, on real images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmcnv2.utils.errors import InputError

from .graphs import Graph

BOX_TOLERANCE = 0.5  # pixels
SCORE_TOLERANCE = 1e-3
MASK_IOU = 0.99
SAME_LABELS = 0.999  # of the pixels
FEATURE_TOLERANCE = 1e-4  # norm of the difference over the norm
#: Of the objects: where two boxes overlap as the threshold of NMS says, rounding decides which of them stays.
SAME_OBJECTS = 0.99

Run = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclass
class Differences:
    """How far a file is from its model.

    Attributes:
        images: On how many images they were compared.
        text: What was found, for people.
        is_same: Whether it is within the tolerances.
    """

    images: int
    text: str
    is_same: bool


def compare(model: Any, graph: Graph, run: Run, images: Sequence[np.ndarray]) -> Differences:
    """Compare a file with a model.

    Args:
        model: The model, in evaluation mode.
        graph: As which it was exported.
        run: Runs the file.
        images: Each (C, H, W) float32, RGB from 0 to 255, with sides divisible by 32.

    Raises:
        InputError: There are no images.
    """
    if not images:
        raise InputError('there are no images to compare the exported file on')
    of_task = dict(
        detection=_detections, segmentation=_segmentations, classification=_classifications, features=_features
    )
    return of_task[graph.task](model, graph, run, images)


@torch.no_grad()
def _detections(model: Any, graph: Graph, run: Run, images: Sequence[np.ndarray]) -> Differences:
    from mmdet.structures import DetDataSample

    total = same = 0
    box_error = score_error = 0.0
    mask_iou = 1.0
    for image in images:
        inputs = graph.module.normalize(torch.from_numpy(image)[None])
        shape = image.shape[1:]
        sample = DetDataSample(
            metainfo=dict(
                img_shape=shape, ori_shape=shape, pad_shape=shape, batch_input_shape=shape, scale_factor=(1.0, 1.0)
            )
        )
        expected = model.predict(inputs, [sample], rescale=False)[0].pred_instances
        found = run(image[None])
        total += max(len(expected), len(found['scores']))
        free = np.ones(len(found['scores']), dtype=bool)
        boxes, scores, labels = (expected[name].numpy() for name in ('bboxes', 'scores', 'labels'))
        for i in range(len(expected)):
            near = np.abs(found['boxes'] - boxes[i]).max(axis=1, initial=0)
            apart = np.abs(found['scores'] - scores[i])
            fits = free & (found['labels'] == labels[i]) & (near <= BOX_TOLERANCE) & (apart <= SCORE_TOLERANCE)
            if not fits.any():
                continue
            j = int(np.argmin(np.where(fits, near, np.inf)))
            iou = _iou(expected.masks[i].numpy(), found['masks'][j]) if 'masks' in found else 1.0
            if iou < MASK_IOU:
                continue
            free[j] = False
            same += 1
            box_error, score_error = max(box_error, float(near[j])), max(score_error, float(apart[j]))
            mask_iou = min(mask_iou, iou)
    masks = f', masks to an IoU of {mask_iou:.4f}' if 'masks' in graph.outputs else ''
    text = f'{same} of {total} objects are the same: boxes to {box_error:.1e} px, scores to {score_error:.1e}{masks}'
    return Differences(len(images), text, same >= SAME_OBJECTS * total)


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    either = (one | other).sum()
    return float((one & other).sum() / either) if either else 1.0


@torch.no_grad()
def _segmentations(model: Any, graph: Graph, run: Run, images: Sequence[np.ndarray]) -> Differences:
    pixels = same = 0
    largest = 0.0
    for image in images:
        inputs = graph.module.normalize(torch.from_numpy(image)[None])
        expected = model.encode_decode(inputs, [dict(img_shape=image.shape[1:])])
        found = torch.from_numpy(run(image[None])['logits'])
        largest = max(largest, (found - expected).abs().max().item())
        labels = [one.sigmoid() > 0.5 if one.shape[1] == 1 else one.argmax(dim=1) for one in (expected, found)]
        pixels += labels[0].numel()
        same += int((labels[0] == labels[1]).sum())
    text = f'{100 * same / pixels:.3f} % of the pixels have the same label, logits differ by at most {largest:.1e}'
    return Differences(len(images), text, same >= SAME_LABELS * pixels)


@torch.no_grad()
def _classifications(model: Any, graph: Graph, run: Run, images: Sequence[np.ndarray]) -> Differences:
    largest = 0.0
    for image in images:
        inputs = graph.module.normalize(torch.from_numpy(image)[None])
        expected = model.head(model.extract_feat(inputs)).softmax(dim=1)
        found = torch.from_numpy(run(image[None])['logits']).softmax(dim=1)
        largest = max(largest, (found - expected).abs().max().item())
    return Differences(len(images), f'probabilities differ by at most {largest:.1e}', largest <= SCORE_TOLERANCE)


@torch.no_grad()
def _features(model: Any, graph: Graph, run: Run, images: Sequence[np.ndarray]) -> Differences:
    largest = 0.0
    for image in images:
        inputs = graph.module.normalize(torch.from_numpy(image)[None])
        found = run(image[None])
        for name, expected in zip(graph.outputs, model.backbone(inputs), strict=True):
            largest = max(largest, _relative(torch.from_numpy(found[name]), expected))
    return Differences(
        len(images), f'maps differ by at most {largest:.1e} (norm over norm)', largest <= FEATURE_TOLERANCE
    )


def _relative(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()
