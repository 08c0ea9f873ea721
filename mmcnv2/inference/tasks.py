"""What each kind of model predicts for a batch of images, and for the tiles of a large one."""

import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import Tensor

from mmcnv2.models import FCMAE
from mmcnv2.models.sparse import PATCH_SIZE, random_mask
from mmcnv2.preflight.datasets import dataset_class, datasets_of
from mmcnv2.utils.errors import InputError
from mmcnv2.visualization import draw_reconstructions

from .preparation import Preparation, checked_array, training_reader
from .results import Classification, Detections, Reconstruction, Result, Segmentation
from .tiles import Window, average_logits

_MOST_ELONGATED = 4  # FCMAE's images: the longer side by the shorter


@dataclass
class Given:
    """An image on its way into a model.

    Attributes:
        pixels: (H, W, C) as the reader of the config gives them.
        path: See ``Result``.
        frame: See ``Result``.
        prepared: What ``Task.prepare`` returned.
    """

    pixels: np.ndarray
    path: str | None
    frame: int | None = None
    prepared: Any = None


class Task:
    """A base of what a kind of model does.

    Args:
        model: In evaluation mode, on its device.
        preparation: How images are read and prepared.
        classes: Names of the classes.
    """

    #: What ``mmcnv2 predict`` can write of it.
    writes: ClassVar[tuple[str, ...]] = ('json', 'pictures', 'video')
    #: Whether it can ``join`` the tiles of an image.
    works_in_tiles: ClassVar[bool] = False
    #: The first class in files of label maps.
    first_label = 0

    def __init__(self, model: Any, preparation: Preparation, classes: tuple[str, ...]) -> None:
        self.model = model
        self.classes = classes
        self.preparation = preparation

    def read(self, path: str) -> np.ndarray:
        """Read a file, see ``Preparation.read``."""
        return self.preparation.read(path)

    def from_array(self, array: np.ndarray) -> np.ndarray:
        """Take an array, see ``Preparation.from_array``."""
        return self.preparation.from_array(array)

    def prepare(self, given: Given) -> None:
        """Compute what can be computed in another thread."""
        given.prepared = self.preparation(given.pixels, given.path)

    def shape(self, given: Given) -> tuple[int, ...]:
        """Return the shape of the prepared image; a batch has images of one shape, none of which is padded."""
        return tuple(given.prepared['inputs'].shape)

    def predict(self, batch: Sequence[Given]) -> list[Any]:
        """Return the result of each image of a batch."""
        samples = self.model.test_step(pseudo_collate([given.prepared for given in batch]))
        return [self.result(given, sample) for given, sample in zip(batch, samples, strict=True)]

    def result(self, given: Given, sample: Any) -> Result:
        """Return the result of an image from the model's data sample."""
        raise NotImplementedError

    def join(self, given: Given, rows: Iterable[tuple[list[Window], list[Given]]]) -> Result:
        """Return the result of an image from rows of its tiles, where ``works_in_tiles``."""
        raise NotImplementedError

    def _common(self, given: Given) -> dict[str, Any]:
        picture = self.preparation.picture(given.pixels)
        return dict(path=given.path, image=picture, classes=self.classes, frame=given.frame)


class Detection(Task):
    """mmdet's detectors, with and without masks.

    Args:
        score_threshold: Objects with a lower score are left out.
        nms: Setting of mmcv's ``batched_nms`` that joins the objects of tiles.
    """

    works_in_tiles = True

    def __init__(
        self,
        model: Any,
        preparation: Preparation,
        classes: tuple[str, ...],
        score_threshold: float,
        nms: dict[str, Any],
    ) -> None:
        super().__init__(model, preparation, classes)
        self.score_threshold = score_threshold
        self.nms = nms

    def result(self, given: Given, sample: Any) -> Detections:
        """See the base."""
        found = sample.pred_instances
        found = found[found.scores >= self.score_threshold]
        order = found.scores.argsort(descending=True, stable=True)
        found = found[order]
        masks = found.masks.cpu().numpy() if 'masks' in found else None
        return Detections(
            **self._common(given),
            boxes=found.bboxes.float().cpu().numpy(),
            scores=found.scores.float().cpu().numpy(),
            labels=found.labels.long().cpu().numpy(),
            parts=None if masks is None else [(0, 0, mask.astype(bool, copy=False)) for mask in masks],
        )

    def join(self, given: Given, rows: Iterable[tuple[list[Window], list[Given]]]) -> Detections:
        """Join the objects of all tiles: of those that overlap, the surest stays (the detector's own NMS)."""
        found, corners = [], []
        for windows, tiles in rows:
            found += self.predict(tiles)
            corners += [(left, top) for left, top, _, _ in windows]
        moves = np.array(corners, dtype=np.float32)[:, [0, 1, 0, 1]]
        boxes = np.concatenate([one.boxes + move for one, move in zip(found, moves, strict=True)])
        scores, labels = (np.concatenate([getattr(one, name) for one in found]) for name in ('scores', 'labels'))
        kept, kept_boxes, kept_scores = self.surest(boxes, scores, labels)
        parts = None
        if all(one.parts is not None for one in found):
            every = [
                (left + x, top + y, part)
                for one, (left, top) in zip(found, corners, strict=True)
                for x, y, part in one.parts
            ]
            parts = [every[i] for i in kept]
        return Detections(
            **self._common(given),
            boxes=kept_boxes,
            scores=kept_scores,
            labels=labels[kept],
            parts=parts,
        )

    def surest(
        self, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return indices, boxes and scores of those that NMS leaves, the surest first."""
        from mmcv.ops import batched_nms

        tensors = (torch.from_numpy(values) for values in (boxes, scores, labels))
        surest, kept = batched_nms(*tensors, nms_cfg=self.nms)
        above = surest[:, -1] >= self.score_threshold  # Soft-NMS lowers scores
        kept, surest = kept[above].numpy(), surest[above].numpy()
        return kept, np.ascontiguousarray(surest[:, :4]), np.ascontiguousarray(surest[:, 4])


class SemanticSegmentation(Task):
    """mmseg's segmenters.

    Args:
        first_label: The first class in files of label maps: 1 if the data set reduces the label 0, as in its own label
            maps, else 0.
        threshold: Of the probability of a model with one channel.
    """

    writes = ('masks', 'json', 'pictures', 'video')
    works_in_tiles = True

    def __init__(
        self,
        model: Any,
        preparation: Preparation,
        classes: tuple[str, ...],
        first_label: int,
        threshold: float,
    ) -> None:
        super().__init__(model, preparation, classes)
        self.first_label = first_label
        self.threshold = threshold

    def result(self, given: Given, sample: Any) -> Segmentation:
        """See the base."""
        labels = sample.pred_sem_seg.data.squeeze(0).cpu().numpy()
        return Segmentation(**self._common(given), label_map=labels.astype(self._dtype))

    def join(self, given: Given, rows: Iterable[tuple[list[Window], list[Given]]]) -> Segmentation:
        """Average the logits of tiles where these overlap."""

        def logits() -> Iterator[tuple[list[Window], list[Tensor]]]:
            for windows, tiles in rows:
                yield windows, self.logits(tiles)

        strips = average_logits(logits(), given.pixels.shape[1])
        label_map = np.concatenate([self._labels(strip) for strip in strips])
        return Segmentation(**self._common(given), label_map=label_map)

    def logits(self, batch: Sequence[Given]) -> list[Tensor]:
        """Return the logits (C, H, W) of each image of a batch, in its own size; of one channel probabilities."""
        samples = self.model.test_step(pseudo_collate([given.prepared for given in batch]))
        return [sample.seg_logits.data.float().cpu() for sample in samples]

    def _labels(self, logits: Tensor) -> np.ndarray:
        """Return the labels (h, w) for logits (C, h, w), of one channel for probabilities, as mmseg decides."""
        labels = logits[0] > self.threshold if len(logits) == 1 else logits.argmax(dim=0)
        return labels.numpy().astype(self._dtype)

    @property
    def _dtype(self) -> type:
        return np.uint8 if len(self.classes) <= 256 else np.uint16


class Classifying(Task):
    """mmpretrain's classifiers."""

    def result(self, given: Given, sample: Any) -> Classification:
        """See the base."""
        probabilities = sample.pred_score.float().cpu().numpy()
        return Classification(**self._common(given), label=int(sample.pred_label), probabilities=probabilities)


class Reconstructing(Task):
    """FCMAE: predicts removed patches from the others.

    An image is resized so that objects are as large as they are in the crops of the pre-training, and both sides are
    whole patches. The mask is the same for all images of one size, unless ``mask`` says another.

    Attributes:
        mask: (h, w) bool, True = removed, of the next images; None: drawn at random.
        mask_ratio: Share of removed patches of random masks, in (0, 1); at first that of the model.
        seed: Of random masks.
    """

    writes = ('pictures', 'video')

    def __init__(self, model: FCMAE, cfg: Config) -> None:
        self.model = model
        self.classes = ()
        self._reader, self._side = training_reader(cfg)
        self.mask: np.ndarray | None = None
        self.mask_ratio: float = model.mask_ratio
        self.seed = 0

    def read(self, path: str) -> np.ndarray:
        """Read a file as the pre-training does."""
        loaded = self._reader.transform(dict(img_path=path))
        return loaded['img']

    def from_array(self, array: np.ndarray) -> np.ndarray:
        """Take an array (H, W, 3) uint8 RGB; of a model with other bands (H, W, C).

        Raises:
            InputError: It has another shape or type.
        """
        return checked_array(array, self._reader)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return how many patches, in rows and columns, an image of this size has."""
        shorter = max(round(self._side / PATCH_SIZE), 2)
        scale = shorter / min(height, width)
        rows, columns = (min(round(side * scale), _MOST_ELONGATED * shorter) for side in (height, width))
        return rows, columns

    def prepare(self, given: Given) -> None:
        """Resize an image to (C, h * 32, w * 32)."""
        height, width = (PATCH_SIZE * count for count in self.grid(*given.pixels.shape[:2]))
        given.prepared = _resized(torch.from_numpy(given.pixels).permute(2, 0, 1), height, width)

    def shape(self, given: Given) -> tuple[int, ...]:
        """See the base."""
        return tuple(given.prepared.shape)

    def predict(self, batch: Sequence[Given]) -> list[Reconstruction]:
        """See the base."""
        return [self._reconstruct(given) for given in batch]

    def _reconstruct(self, given: Given) -> Reconstruction:
        """Predict one image; only patches that were removed are changed."""
        height, width = given.pixels.shape[:2]
        grid = self.grid(height, width)
        mask = self._random_mask(grid) if self.mask is None else torch.from_numpy(np.asarray(self.mask, bool))
        if tuple(mask.shape) != grid:
            raise InputError(f'mask must have the shape {grid} of the patches of this image, got {tuple(mask.shape)}')
        drawn = draw_reconstructions(self.model, [given.prepared], mask[None])[0]
        image, _, predicted = (
            _resized(torch.from_numpy(one).permute(2, 0, 1), height, width).permute(1, 2, 0).numpy() for one in drawn
        )
        if given.pixels.dtype == np.uint8 and given.pixels.shape[2] == 3:
            image = given.pixels
        rows, columns = (np.arange(side) * count // side for side, count in ((height, grid[0]), (width, grid[1])))
        removed = mask.numpy()[rows][:, columns, None]
        return Reconstruction(
            path=given.path,
            image=image,
            frame=given.frame,
            mask=mask.numpy(),
            reconstruction=np.where(removed, predicted, image),
            masked=np.where(removed, np.uint8(128), image),
        )

    def _random_mask(self, grid: tuple[int, int]) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return random_mask(1, grid, self.mask_ratio)[0]


def reduces_zero_label(cfg: Config) -> bool:
    """Return whether label 0 of the label maps of the config's data is no class, and class 0 is label 1."""
    for _, dataset in datasets_of(cfg, 'test', 'val', 'train'):
        if 'reduce_zero_label' in dataset:
            return bool(dataset['reduce_zero_label'])
        parameters = inspect.signature(dataset_class(dataset)).parameters
        return 'reduce_zero_label' in parameters and parameters['reduce_zero_label'].default is True
    return False


def _resized(image: Tensor, height: int, width: int) -> Tensor:
    """Resize (C, h, w), uint8 or float32, without going outside the range of its values."""
    resized = F.interpolate(image[None].float(), (height, width), mode='bicubic', antialias=True)[0]
    resized = resized.clamp(*(float(value) for value in image.aminmax()))
    return resized.round().to(torch.uint8) if image.dtype == torch.uint8 else resized
