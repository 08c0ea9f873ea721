"""AP, mIoU or accuracy of a model and of exported files, on the validation set of its config, by its own metrics."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from mmengine import registry
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator

from mmcnv2.inference import Classification, Detections, Predictor, Segmentation
from mmcnv2.preflight.datasets import datasets_of

from .quiet import quiet


class Validation:
    """The validation set of a config, or its first images.

    Args:
        cfg: The config, whose ``default_scope`` is that of the process now.
        most: How many images; None: all.

    Attributes:
        reason: Why there is none, '' if there is one.
        images: How many images count.
        all: How many there are.
    """

    def __init__(self, cfg: Config, most: int | None) -> None:
        self._cfg = cfg
        self.reason = ''
        self.images = self.all = 0
        split = next((split for split in ('val', 'test') if cfg.get(f'{split}_dataloader')), None)
        if split is None or not cfg.get(f'{split}_evaluator'):
            self.reason = 'the config has no val_dataloader with val_evaluator'
            return
        self._evaluator = cfg[f'{split}_evaluator']
        try:
            with quiet():
                self.dataset: Any = registry.DATASETS.build(cfg[f'{split}_dataloader'].dataset)
            self.all = len(self.dataset)
            self.images = self.all if most is None else min(most, self.all)
            self.dataset[0]  # also the files are there
        except Exception as error:
            self.reason = f'the validation data of the config cannot be read: {type(error).__name__}: {error}'
            self.images = 0

    def score(self, predict: Callable[[int, dict[str, Any]], Sequence[Any]]) -> dict[str, float]:
        """Return the metrics of the config by name.

        Args:
            predict: Given the number of an image and the batch of it, returns its data sample with predictions.
        """
        with quiet():
            evaluator = Evaluator(self._evaluator)
        evaluator.dataset_meta = self.dataset.metainfo
        ids = []
        for index in range(self.images):
            batch = pseudo_collate([self.dataset[index]])
            samples = predict(index, batch)
            ids.append(samples[0].metainfo.get('img_id'))
            evaluator.process(data_samples=samples, data_batch=batch)
        for metric in evaluator.metrics:
            if self.images < self.all and getattr(metric, '_coco_api', None) is not None:
                metric.img_ids = ids  # the others count as images in which nothing was found
        with quiet():
            metrics = evaluator.evaluate(self.images)
        return {key: float(value) for key, value in metrics.items() if isinstance(value, int | float | np.number)}

    def score_of_model(self, model: Any) -> dict[str, float]:
        """Return the metrics of a model itself, as ``mmcnv2 test`` computes them."""
        with torch.no_grad():
            return self.score(lambda index, batch: model.test_step(batch))

    def score_of_file(self, path: str) -> dict[str, float]:
        """Return the metrics of an exported file, as ``Predictor`` runs it."""
        predictor = Predictor(path, score_threshold=0.0, device='cpu')

        def predict(index: int, batch: dict[str, Any]) -> Sequence[Any]:
            sample = batch['data_samples'][0]
            (result,) = predictor(sample.img_path)
            _add_prediction(sample, result)
            return [sample]

        return self.score(predict)


def _add_prediction(sample: Any, result: Any) -> None:
    """Put a result where the metrics of the libraries look for it."""
    if isinstance(result, Detections):
        from mmengine.structures import InstanceData

        values = dict(bboxes=result.boxes, scores=result.scores, labels=result.labels)
        found = InstanceData(**{name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in values.items()})
        if result.masks is not None:
            found.masks = torch.from_numpy(result.masks)
        sample.pred_instances = found
    elif isinstance(result, Segmentation):
        from mmengine.structures import PixelData

        sample.pred_sem_seg = PixelData(data=torch.from_numpy(result.label_map.astype(np.int64))[None])
    elif isinstance(result, Classification):
        sample.set_pred_score(torch.from_numpy(result.probabilities)).set_pred_label(result.label)


def image_files(cfg: Config, split: str) -> Iterator[str]:
    """Yield the image files of the data of a split, none where they cannot be read."""
    for _, dataset in datasets_of(cfg, split):
        try:
            with quiet():
                built = registry.DATASETS.build(dict(dataset, pipeline=[]))
            for index in range(len(built)):
                yield built.get_data_info(index)['img_path']
        except Exception:
            return
