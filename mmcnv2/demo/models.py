"""What the page has tabs for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmcnv2.apis import get_backbone
from mmcnv2.evaluation.embeddings import digest_of_weights, nearest_to, read_rows, read_settings, row_images
from mmcnv2.evaluation.features import Sample, pooled_features
from mmcnv2.inference import Predictor
from mmcnv2.inference.loading import load_predictor
from mmcnv2.inference.tasks import Detection, Reconstructing, SemanticSegmentation
from mmcnv2.models.normalization import IMAGENET, Normalization
from mmcnv2.utils.device import choose_device
from mmcnv2.utils.errors import ConfigError, InputError

_TASKS = {'detector': Detection, 'segmenter': SemanticSegmentation, 'fcmae': Reconstructing}


@dataclass(kw_only=True)
class Models:
    """The models of the page; None: no such tab."""

    detector: Predictor | None = None
    segmenter: Predictor | None = None
    fcmae: Predictor | None = None
    neighbours: 'Neighbours | None' = None


def load_tab(option: str, given: Sequence[str], device: str = 'auto', allow_pickle: bool = False) -> Predictor:
    """Load a model for a tab.

    Args:
        option: 'detector', 'segmenter' or 'fcmae'.
        given: See ``load_predictor``.
        device: See ``Predictor``.
        allow_pickle: See ``Predictor``.

    Raises:
        InputError: It cannot be loaded, or is another kind of model.
    """
    predictor = load_predictor(f'--{option}', given, device=device, allow_pickle=allow_pickle)
    if not isinstance(predictor.task, _TASKS[option]):
        raise ConfigError(f'--{option} {given[0]}: {type(predictor.model).__name__} is another kind of model')
    return predictor


class Neighbours:
    """The images of a file of embeddings, and the network that they were embedded with.

    Args:
        file: From ``mmcnv2 embed``.
        device: See ``Predictor``.
        allow_pickle: See ``get_backbone``.

    Raises:
        InputError: The file cannot be used, or its network has other weights now.
    """

    def __init__(self, file: Path, device: str, allow_pickle: bool = False) -> None:
        self.file = file
        settings = read_settings(file)
        checkpoint = settings['checkpoint']
        self._backbone: Any = get_backbone(checkpoint, settings['stages'], allow_pickle).to(choose_device(device))
        if digest_of_weights(self._backbone) != settings['weights']:
            raise InputError(f'{file} was made with other weights than {checkpoint} has now: make it again')
        # What the vectors in the file were computed with; older files do not say it, and had ImageNet's.
        self._backbone.normalization = Normalization(*map(tuple, settings.get('normalization', IMAGENET)))
        self._image_size: int = settings['image_size']

    def find(self, path: str, count: int) -> list[tuple[np.ndarray, str]]:
        """Return the nearest images or objects of an image, (S, S, 3) uint8 RGB, each with its cosine and class.

        Raises:
            InputError: The image cannot be read.
        """
        found = [*pooled_features(self._backbone, [Sample(path)], self._image_size, 1, 0)]
        if not found:
            raise InputError('the image cannot be read')
        rows, cosines = nearest_to(self.file, found[0][1].numpy(), count)
        content = read_rows(self.file, rows[0].tolist())
        names = content.get('label') or [Path(path).name for path in content['path']]
        texts = [f'{cosine:.2f} {name}' for cosine, name in zip(cosines[0], names, strict=True)]
        return [*zip(row_images(content, image_size=224), texts, strict=True)]
