"""The one class that turns a config and a checkpoint into predictions for anything that has pixels."""

import copy
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmcnv2.datasets import UnreadableImageError
from mmcnv2.models import FCMAE
from mmcnv2.models.weights.matching import match_state_dicts
from mmcnv2.models.weights.reading import find_state_dict, load_checkpoint, read_state_dict
from mmcnv2.preflight.datasets import dataset_class, datasets_of
from mmcnv2.preflight.fitting import does_not_fit
from mmcnv2.recipes import read_config_file
from mmcnv2.utils.ahead import ahead
from mmcnv2.utils.device import choose_device
from mmcnv2.utils.errors import ConfigError, InputError
from mmcnv2.utils.hub import is_hub, pinned

from .onnx_models import OnnxModel, onnx_task
from .preparation import Preparation
from .results import Result
from .sources import Item, Stream, find_items
from .tasks import Classifying, Detection, Given, Reconstructing, SemanticSegmentation, Task, reduces_zero_label
from .tiles import check_tiles, tile_windows

OnError = Callable[[str, Exception], None]


def is_onnx(config: Any) -> bool:
    """Return whether the config of a ``Predictor`` is a whole model in ONNX."""
    return isinstance(config, str | os.PathLike) and os.fspath(config).endswith('.onnx')


class Predictor:
    """A detector, segmenter, classifier or FCMAE that predicts what is in images.

    >>> predictor = Predictor('my_config.py', 'work_dirs/my_config/iter_1000.pth')  # or Predictor('hf://owner/name')
    >>> for result in predictor('photos/'):
    ...     print(result.path, result.labels, result.scores)

    Files are read as the config reads them (EXIF orientation, grey, 16 bits, many bands). Nothing in the process is
    changed: no default scope, no registered class.

    Args:
        config: Path of a config, ``mmcnv2::`` and the name of a recipe, or a ``Config``; or a whole model in ONNX, the
            ``.onnx`` file of ``mmcnv2 export``, which onnxruntime runs; or ``hf://owner/name[@revision]``, a model
            that ``mmcnv2 publish`` has put on the Hugging Face Hub.
        checkpoint: Path, URL or name on the hub of a checkpoint of the whole model; None of a model in ONNX or on the
            hub, which has its weights.
        device: 'auto' (a GPU if there is one), 'cpu', 'cuda' or 'cuda:N'.
        score_threshold: Objects with a lower score are left out, from 0 to 1.
        allow_pickle: Read a checkpoint that could run code, see ``read_state_dict``.

    Attributes:
        cfg: The config; None of a model in ONNX.
        model: The model, in evaluation mode; an ``OnnxModel`` of a model in ONNX.
        classes: Names of the classes; () of FCMAE.
        task: What it does, see ``mmcnv2.inference.tasks``.

    Raises:
        InputError: Config, checkpoint or an argument cannot be used.
    """

    def __init__(
        self,
        config: str | os.PathLike | Config,
        checkpoint: str | os.PathLike | None = None,
        device: str | torch.device = 'auto',
        score_threshold: float = 0.3,
        allow_pickle: bool = False,
    ) -> None:
        if not 0 <= score_threshold <= 1:
            raise InputError(f'score_threshold must be from 0 to 1, got {score_threshold}')
        self.cfg: Config | None = None
        if is_onnx(config):
            if checkpoint is not None:
                raise InputError(f'checkpoint must be None: {os.fspath(config)} has the weights of its model')
            self.model: Any = OnnxModel(os.fspath(config), str(device))
            self.device = torch.device(self.model.device)
            self.classes = self.model.description.classes
            self.task = onnx_task(self.model, score_threshold)
            return
        if is_hub(config):
            if checkpoint is not None:
                raise InputError(f'checkpoint must be None: {config} has the weights of its model')
            config = checkpoint = pinned(str(config))
        cfg = config if isinstance(config, Config) else read_config_file(os.fspath(config))
        if checkpoint is None:
            raise InputError('checkpoint must be the path or URL of a checkpoint of the whole model')
        self.cfg = cfg
        self.device = torch.device(choose_device(str(device)))
        with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
            self.model = MODELS.build(copy.deepcopy(cfg.model))
            meta = _load(self.model, str(checkpoint), allow_pickle)
            self.model.to(self.device).eval()
            self.classes = _classes(cfg, meta)
            self.task = _task(self.model, cfg, self.classes, score_threshold)

    def __call__(
        self,
        source: Any,
        batch_size: int = 1,
        tile: int | None = None,
        overlap: float = 0.2,
        on_error: OnError | None = None,
    ) -> Iterator[Result]:
        """Predict one image after the other; memory does not grow with their number.

        Args:
            source: Path of an image, a folder (searched with its sub-folders), a glob, a video, the number of a
                camera, an array (H, W, 3) uint8 RGB, or a list of these.
            batch_size: How many images the model computes at once; only those of one size after preparation. It
                changes no result beyond rounding.
            tile: Side in pixels of the tiles that larger images are predicted in. None: images as a whole.
            overlap: Share of a tile that neighbours have in common.
            on_error: Called with the path of a file that cannot be read, and the error. None: a warning; if it is all
                of ``source``, the error is raised.

        Yields:
            A ``Detections``, ``Segmentation``, ``Reconstruction`` or ``Classification`` of each image or frame.

        Raises:
            InputError: An argument cannot be used. All of them are looked at before this returns.
        """
        items = find_items(source)
        if on_error is None:
            on_error = _warn if len(items) > 1 else _raise
        return (result for _, result in self.predict_items(items, batch_size, tile, overlap, on_error))

    def predict_items(
        self, items: Sequence[Item], batch_size: int, tile: int | None, overlap: float, on_error: OnError
    ) -> Iterator[tuple[int, Result]]:
        """Yield the index of an item and a result, as ``__call__`` does."""
        if batch_size < 1:
            raise InputError(f'batch_size must be at least 1, got {batch_size}')
        check_tiles(tile, overlap)
        if tile is not None and not self.task.works_in_tiles:
            raise InputError('tile: only detectors and segmenters work in tiles')
        return self._results(items, batch_size, tile, overlap, on_error)

    def _results(
        self, items: Sequence[Item], batch_size: int, tile: int | None, overlap: float, on_error: OnError
    ) -> Iterator[tuple[int, Result]]:
        batch: list[tuple[int, Given]] = []
        # A batch ahead, so that reading and the model take turns on nothing.
        for index, given in ahead(self._given(items, tile, on_error), batch_size + 1):
            is_tiled = given.prepared is None
            if batch and (is_tiled or self.task.shape(batch[0][1]) != self.task.shape(given)):
                yield from self._predicted(batch)
                batch = []
            if is_tiled:
                yield index, self._in_tiles(given, tile, overlap, batch_size)  # type: ignore[arg-type]
                continue
            batch.append((index, given))
            if len(batch) == batch_size or items[index].camera is not None:
                yield from self._predicted(batch)
                batch = []
        yield from self._predicted(batch)

    def _given(self, items: Sequence[Item], tile: int | None, on_error: OnError) -> Iterator[tuple[int, Given]]:
        """Read and prepare; images that are to be cut into tiles are not prepared as a whole."""
        for index, item in enumerate(items):
            try:
                for given in self._read(item):
                    if tile is None or max(given.pixels.shape[:2]) <= tile:
                        self.task.prepare(given)
                    yield index, given
            except UnreadableImageError as error:
                on_error(item.path or item.name, error)

    def _read(self, item: Item) -> Iterator[Given]:
        if item.is_stream:
            for frame, array in enumerate(Stream(item)):
                yield Given(self.task.from_array(array), item.path, frame)
        elif item.path is not None:
            yield Given(self.task.read(item.path), item.path)
        else:
            yield Given(self.task.from_array(item.array), None)  # type: ignore[arg-type]

    @torch.inference_mode()
    def _predicted(self, batch: list[tuple[int, Given]]) -> list[tuple[int, Result]]:
        if not batch:
            return []
        results = self.task.predict([given for _, given in batch])
        return [(index, result) for (index, _), result in zip(batch, results, strict=True)]

    @torch.inference_mode()
    def _in_tiles(self, given: Given, tile: int, overlap: float, batch_size: int) -> Result:
        def rows() -> Iterator[tuple[list, list[Given]]]:
            for windows in tile_windows(given.pixels.shape[0], given.pixels.shape[1], tile, overlap):
                for start in range(0, len(windows), batch_size):
                    some = windows[start : start + batch_size]
                    tiles = [Given(given.pixels[y : y + h, x : x + w].copy(), given.path) for x, y, w, h in some]
                    for one in tiles:
                        self.task.prepare(one)
                    yield some, tiles

        return self.task.join(given, rows())


def _load(model: nn.Module, checkpoint: str, allow_pickle: bool) -> dict[str, Any]:
    """Load the weights of the whole model; return what the checkpoint says besides (``meta``)."""
    meta: dict[str, Any] = {}
    if checkpoint.startswith('timm://'):
        weights: Any = read_state_dict(checkpoint, allow_pickle)
    else:
        content = load_checkpoint(checkpoint, allow_pickle)
        weights = find_state_dict(content)
        if isinstance(content, dict) and isinstance(content.get('meta'), dict):
            meta = content['meta']
    if not isinstance(weights, dict) or not any(isinstance(value, torch.Tensor) for value in weights.values()):
        raise InputError(f'checkpoint {checkpoint} holds no state dict: expected the tensors of a model by name')
    own = model.state_dict()
    match = match_state_dicts(weights, own)
    if match.problems:
        raise does_not_fit(f'checkpoint {checkpoint}', match, own)
    model.load_state_dict(match.tensors)
    return meta


def _classes(cfg: Config, meta: dict[str, Any]) -> tuple[str, ...]:
    """Return the classes: those that the checkpoint was trained with, else those of the data of the config."""
    known = meta.get('dataset_meta') or {}
    if classes := known.get('classes') or known.get('CLASSES'):
        return tuple(classes)
    for _, dataset in datasets_of(cfg, 'test', 'val', 'train'):
        metainfo = dataset.get('metainfo') or getattr(dataset_class(dataset), 'METAINFO', {})
        if isinstance(metainfo, dict) and (classes := metainfo.get('classes')):
            return tuple(classes)
    return ()


def library_bases(part: Any) -> set[str]:
    """Return library and name of each class that a part is of; the libraries are not imported for it."""
    return {f'{base.__module__.split(".")[0]}.{base.__name__}' for base in type(part).__mro__}


def _task(model: Any, cfg: Config, classes: tuple[str, ...], score_threshold: float) -> Task:
    if isinstance(model, FCMAE):
        return Reconstructing(model, cfg)
    bases = library_bases(model)

    def common() -> tuple[Any, Preparation, tuple[str, ...]]:
        return model, Preparation(cfg), _enough(model, classes)

    kinds: dict[str, Callable[[], Task]] = {
        'mmdet.BaseDetector': lambda: Detection(*common(), score_threshold=score_threshold, nms=nms_of(model)),
        'mmseg.BaseSegmentor': lambda: SemanticSegmentation(
            *common(), first_label=int(reduces_zero_label(cfg)), threshold=threshold_of(model)
        ),
        'mmpretrain.ImageClassifier': lambda: Classifying(*common()),
    }
    for base, build in kinds.items():
        if base in bases:
            return build()
    raise ConfigError(
        f'model.type {type(model).__name__} is none of what Predictor knows: FCMAE, detectors of mmdet, segmenters of '
        'mmseg, classifiers of mmpretrain'
    )


def threshold_of(model: Any) -> float:
    """Return from which probability on a pixel is of the class, of a segmenter of mmseg with one channel."""
    return float(getattr(getattr(model, 'decode_head', None), 'threshold', None) or 0.5)


def nms_of(model: Any) -> dict[str, Any]:
    """Return the setting ``nms`` of a detector of mmdet."""
    test_cfg = getattr(model, 'test_cfg', None) or {}
    return dict((test_cfg.get('rcnn') or test_cfg).get('nms') or dict(type='nms', iou_threshold=0.5))


def _enough(model: Any, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return a name for each output of the model, numbers where neither checkpoint nor data have names."""
    for name in ('roi_head.bbox_head', 'bbox_head', 'decode_head', 'head'):
        head: Any = model
        for part in name.split('.'):
            head = getattr(head, part, None)
        if isinstance(head, nn.ModuleList):  # of a cascade
            head = head[-1]
        count = getattr(head, 'num_classes', None)
        if isinstance(count, int):
            return classes + tuple(f'class {i}' for i in range(len(classes), count))
    return classes


def _warn(path: str, error: Exception) -> None:
    print_log(f'{error}; it is left out', 'current', level=logging.WARNING)


def _raise(path: str, error: Exception) -> None:
    raise error
