"""Each kind of model as a function of images (N, C, H, W) float32, RGB from 0 to 255, with normalization inside."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmcnv2.inference.predictor import library_bases
from mmcnv2.models import FCMAE
from mmcnv2.utils.errors import InputError

from .detectors import detector_graph


@dataclass
class Graph:
    """A function of images, and the names of what it returns.

    Attributes:
        module: Called with images.
        task: See ``Description``.
        outputs: Name of each output, and its dimensions that are not fixed, by their number.
    """

    module: 'Normalized'
    task: str
    outputs: dict[str, dict[int, str]]


class Normalized(nn.Module):
    """Normalises images as the data preprocessor of a model does, and calls what follows.

    Args:
        preprocessor: Of the model.
        following: Takes images as the model does.

    Attributes:
        swaps: Whether the model takes BGR.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, preprocessor: Any, following: nn.Module) -> None:
        super().__init__()
        if not getattr(preprocessor, '_enable_normalize', False):
            mean, std = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
        else:
            mean, std = preprocessor.mean.clone(), preprocessor.std.clone()
        self.register_buffer('mean', mean)
        self.register_buffer('std', std)
        self.swaps = False
        self.following = following

    def normalize(self, images: Tensor) -> Tensor:
        """Return images as the model takes them."""
        if self.swaps:
            images = torch.cat([images[:, 2:], images[:, 1:2], images[:, :1]], dim=1)
        return (images - self.mean) / self.std

    def forward(self, images: Tensor) -> Any:
        """Return what follows makes of images."""
        return self.following(self.normalize(images))


class Segmenter(nn.Module):
    """A segmenter of mmseg as a function of normalised images: its logits in their size."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes, H, W)."""
        return self.model.encode_decode(images, [dict(img_shape=images.shape[2:])])


class Classifier(nn.Module):
    """A classifier of mmpretrain as a function of normalised images."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, classes)."""
        return self.model.head(self.model.extract_feat(images))


def build_graph(model: Any) -> Graph:
    """Return a model as a function of images.

    Args:
        model: Of mmdet, mmseg, mmpretrain, or an FCMAE, in evaluation mode.

    Raises:
        InputError: It is another kind of model, or has parts without an export.
    """
    bases = library_bases(model)
    if isinstance(model, FCMAE):
        names = {f'stage{i}': {0: 'n', 2: f'h{i}', 3: f'w{i}'} for i in model.backbone.out_indices}
        return Graph(Normalized(model.data_preprocessor, model.backbone), 'features', names)
    if 'mmdet.BaseDetector' in bases:
        detector = detector_graph(model)
        names = {'boxes': {0: 'n'}, 'scores': {0: 'n'}, 'labels': {0: 'n'}}
        if model.with_mask:
            names['masks'] = {0: 'n', 1: 'h', 2: 'w'}
        return Graph(Normalized(model.data_preprocessor, detector), 'detection', names)
    if 'mmseg.EncoderDecoder' in bases:
        module = Normalized(model.data_preprocessor, Segmenter(model))
        return Graph(module, 'segmentation', {'logits': {0: 'n', 2: 'h', 3: 'w'}})
    if 'mmpretrain.ImageClassifier' in bases:
        if 'mmpretrain.ClsHead' not in library_bases(model.head):
            raise InputError(
                f'model.head: {type(model.head).__name__} has no ONNX export; ClsHead of mmpretrain has one'
            )
        module = Normalized(model.data_preprocessor, Classifier(model))
        return Graph(module, 'classification', {'logits': {0: 'n'}})
    raise InputError(
        f'model.type {type(model).__name__} has no ONNX export: FCMAE (its encoder), detectors of mmdet, '
        'EncoderDecoder of mmseg and classifiers of mmpretrain have one'
    )
