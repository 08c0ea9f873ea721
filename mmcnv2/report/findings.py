"""What a model finds and misses in the validation images of its config."""

import contextlib
import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from mmengine import registry
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmcnv2.inference import Detections, Predictor, Segmentation
from mmcnv2.inference.preparation import loads_labels
from mmcnv2.inference.tasks import Detection, SemanticSegmentation
from mmcnv2.inference.writing import coco_annotations
from mmcnv2.preflight.datasets import build_dataset, datasets_of
from mmcnv2.utils.errors import ConfigError, InputError
from mmcnv2.utils.progress import Progress
from mmcnv2.visualization import contact_sheet, draw_boxes, draw_instances
from mmcnv2.visualization.confusion import plot_confusion
from mmcnv2.visualization.labels import IGNORED

NUM_WORST = 20
_SCORE, _OVERLAP = 0.3, 0.5  # of the confusion matrix and the worst images
_MOST_CURVES = 20


@dataclass
class Findings:
    """Tables and pictures of an evaluation.

    Attributes:
        header: Of the table of classes.
        classes: A row a class.
        confusion: Counts (n, n): true classes in rows, predicted ones in columns; of a detector the last of both is
            the background.
        names: Of its rows and columns.
        figures: Plots by name.
        worst: (score from 0 to 1, caption, ground truth beside prediction), the worst first.
    """

    header: list[str]
    classes: list[list[Any]]
    confusion: np.ndarray
    names: list[str]
    figures: dict[str, Figure] = field(default_factory=dict)
    worst: list[tuple[float, str, np.ndarray]] = field(default_factory=list)


def evaluate(cfg: Config, checkpoint: str, device: str = 'auto', allow_pickle: bool = False) -> Findings:
    """Predict the validation images of a config, and compare with their annotations.

    Args:
        cfg: Of a detector on COCO annotations, or a segmenter.
        checkpoint: Of the whole model.
        device: See ``Predictor``.
        allow_pickle: See ``Predictor``.

    Raises:
        InputError: The config has no such data, or another kind of model.
    """
    predictor = Predictor(cfg, checkpoint, device, score_threshold=0, allow_pickle=allow_pickle)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        found = list(datasets_of(cfg, 'val'))
        if len(found) != 1:
            raise ConfigError(f'--checkpoint needs one data set in val_dataloader.dataset, it has {len(found)}')
        dataset = build_dataset(*found[0])
        steps = found[0][1].get('pipeline') or []
        load_labels = [registry.TRANSFORMS.build(dict(step)) for step in steps[1:] if loads_labels(step)]
    if isinstance(predictor.task, Detection):
        return _evaluate_detector(predictor, dataset)
    if isinstance(predictor.task, SemanticSegmentation):
        return _evaluate_segmenter(predictor, dataset, load_labels)
    raise InputError(f'--checkpoint: of {type(predictor.model).__name__}, only what is logged can be reported')


def _predicted(predictor: Predictor, dataset: Any) -> Iterator[tuple[dict, Any]]:
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    progress = Progress('report', len(infos))
    results = predictor([info['img_path'] for info in infos], on_error=_stop)
    for done, (info, result) in enumerate(zip(infos, results, strict=True), start=1):
        progress.update(done)
        yield info, result


def _stop(path: str, error: Exception) -> None:
    raise error


class _Worst:
    """Keeps the pictures of the images with the lowest scores."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, str, np.ndarray]] = []
        self._count = 0

    def add(self, score: float, path: str, draw: Any) -> None:
        self._count += 1
        if len(self._heap) == NUM_WORST and -self._heap[0][0] <= score:
            return
        entry = (-score, self._count, f'{path}: {score:.2f}', draw())
        (heapq.heappushpop if len(self._heap) == NUM_WORST else heapq.heappush)(self._heap, entry)

    def sorted(self) -> list[tuple[float, str, np.ndarray]]:
        return [(-score, caption, picture) for score, _, caption, picture in sorted(self._heap, reverse=True)]


# ---- detectors ----


def _evaluate_detector(predictor: Predictor, dataset: Any) -> Findings:
    import supervision as sv
    from pycocotools.coco import COCO
    from supervision.metrics import MetricTarget

    if not hasattr(dataset, 'cat_ids'):
        raise InputError(f'--checkpoint: of detectors, data in COCO format are reported, not {type(dataset).__name__}')
    with contextlib.redirect_stdout(None):
        coco = COCO(dataset.ann_file)
    classes = predictor.classes
    results: dict[str, list[dict]] = {'bbox': [], 'segm': []}
    matrices: dict[str, np.ndarray] = {'boxes': np.zeros((len(classes) + 1,) * 2, dtype=np.int64)}
    worst = _Worst()
    for info, result in _predicted(predictor, dataset):
        _add_results(results, result, info['img_id'], dataset.cat_ids)
        annotations = [
            one
            for one in coco.imgToAnns[info['img_id']]
            if not one.get('iscrowd') and one['category_id'] in dataset.cat2label  # others are not of these classes
        ]
        has_masks = result.parts is not None and all(one.get('segmentation') for one in annotations)
        truth = _true_detections(sv, coco, annotations, dataset.cat2label, has_masks, result.image.shape[:2])
        sure = result.scores >= _SCORE
        own = sv.Detections(
            xyxy=result.boxes[sure],
            mask=result.masks[sure] if has_masks else None,
            confidence=result.scores[sure],
            class_id=result.labels[sure],
        )
        kinds = {'boxes': MetricTarget.BOXES} | ({'masks': MetricTarget.MASKS} if has_masks else {})
        for kind, target in kinds.items():
            matrix = sv.ConfusionMatrix.from_detections(
                [own], [truth], list(classes), _SCORE, _OVERLAP, target
            ).matrix.astype(np.int64)
            matrices[kind] = matrices.get(kind, 0) + matrix
        hits = np.trace(matrix[:-1, :-1])
        total = len(own) + len(truth)
        score = 2 * hits / total if total else 1.0
        worst.add(score, info['img_path'], lambda result=result, truth=truth, own=own: _beside(result, truth, own))
    tables, figures = _average_precision(coco, results, dataset.cat_ids, classes)
    names = [*classes, 'background']
    for kind, matrix in matrices.items():
        title = f'{kind}: score above {_SCORE}, IoU above {_OVERLAP}'
        figures[f'confusion_{kind}'] = plot_confusion(matrix, names, title)
    kinds_of_ap = [kind for kind in ('box', 'mask') if kind in tables]
    header = ['class', 'objects', *(f'{kind} {what}' for kind in kinds_of_ap for what in ('AP', 'AP50'))]
    counts = [len(coco.getAnnIds(catIds=[cat])) for cat in dataset.cat_ids]
    rows = [
        [name, count, *(value for kind in kinds_of_ap for value in tables[kind][i])]
        for i, (name, count) in enumerate(zip(classes, counts, strict=True))
    ]
    rows.append(['mean', sum(counts), *np.nanmean([row[2:] for row in rows], axis=0)])
    return Findings(header, rows, matrices['boxes'], names, figures, worst.sorted())


def _add_results(results: dict[str, list[dict]], result: Detections, image_id: int, cat_ids: Sequence[int]) -> None:
    for one in coco_annotations(result):
        common = dict(image_id=image_id, category_id=cat_ids[one['label']], score=one['score'])
        results['bbox'].append(common | dict(bbox=one['bbox']))
        if 'segmentation' in one:  # without the box: pycocotools would compare that
            results['segm'].append(common | dict(segmentation=one['segmentation']))


def _true_detections(sv: Any, coco: Any, annotations: list, cat2label: dict, has_masks: bool, shape: Any) -> Any:
    boxes = np.array([one['bbox'] for one in annotations], dtype=np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = [coco.annToMask(one).astype(bool) for one in annotations] if has_masks else None
    labels = np.array([cat2label[one['category_id']] for one in annotations], dtype=int)
    if masks is not None:
        masks = np.stack(masks) if masks else np.zeros((0, *shape), dtype=bool)  # type: ignore[assignment]
    return sv.Detections(xyxy=boxes, mask=masks, class_id=labels)


def _average_precision(
    coco: Any, results: dict[str, list[dict]], cat_ids: Sequence[int], classes: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, Figure]]:
    """Return AP and AP50 of each class (n, 2), and precision over recall, by pycocotools."""
    from pycocotools.cocoeval import COCOeval

    tables, figures = {}, {}
    for kind, name in (('bbox', 'box'), ('segm', 'mask')):
        if not results[kind]:
            continue
        with contextlib.redirect_stdout(None):  # of pycocotools
            evaluation = COCOeval(coco, coco.loadRes(results[kind]), kind)
            evaluation.params.catIds = list(cat_ids)
            evaluation.evaluate()
            evaluation.accumulate()
        precision = np.where(evaluation.eval['precision'] < 0, np.nan, evaluation.eval['precision'])
        order = [evaluation.params.catIds.index(cat) for cat in cat_ids]  # pycocotools sorts them
        precision = precision[:, :, order, 0, -1]  # thresholds, recalls, classes; all sizes, 100 objects an image
        tables[name] = np.stack([precision.mean(axis=(0, 1)), precision[0].mean(axis=0)], axis=1)
        figure = Figure(figsize=(5.5, 4), layout='constrained')
        axes = figure.subplots()
        shown = np.argsort(-np.nan_to_num(tables[name][:, 1], nan=-1), kind='stable')[:_MOST_CURVES]
        for i in shown:
            axes.plot(evaluation.params.recThrs, precision[0, :, i], label=f'{classes[i]} ({tables[name][i, 1]:.2f})')
        axes.set(xlabel='recall', ylabel='precision', title=f'{name}, IoU 0.5', xlim=(0, 1), ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        axes.legend(fontsize='x-small')
        figures[f'precision_recall_{name}'] = figure
    if not tables:
        tables['box'] = np.zeros((len(classes), 2))
    return tables, figures


def _beside(result: Detections, truth: Any, own: Any) -> np.ndarray:
    cells = []
    for one in (truth, own):
        labels = one.class_id.tolist()
        scores = [''] * len(one) if one.confidence is None else [f' {score:.2f}' for score in one.confidence]
        texts = [f'{result.classes[label]}{score}' for label, score in zip(labels, scores, strict=True)]
        if one.mask is not None:
            cells.append(draw_instances(result.image, one.mask, labels, texts, one.xyxy))
        else:
            cells.append(draw_boxes(result.image, one.xyxy, labels, texts))
    return contact_sheet([cells], ['annotation', 'prediction'])


# ---- segmenters ----


def _evaluate_segmenter(predictor: Predictor, dataset: Any, load_labels: Sequence[Any]) -> Findings:
    if not load_labels:
        raise ConfigError('--checkpoint: val_dataloader.dataset.pipeline loads no label maps to compare with')
    names = list(predictor.classes)
    confusion = np.zeros((len(names),) * 2, dtype=np.int64)
    worst = _Worst()
    for info, result in _predicted(predictor, dataset):
        info |= dict(ori_shape=result.image.shape[:2], img_shape=result.image.shape[:2])
        for load in load_labels:
            info = load(info)
        truth = info['gt_seg_map']
        own = pixel_confusion(truth, result.label_map, len(names))
        confusion += own
        worst.add(
            float(np.nanmean(intersection_over_union(own))),
            result.path,
            lambda result=result, truth=truth: _maps_beside(result, truth),
        )
    ious = intersection_over_union(confusion)
    with np.errstate(invalid='ignore'):
        recall = np.diag(confusion) / confusion.sum(axis=1)
    share = confusion.sum(axis=1) / max(confusion.sum(), 1)
    rows = [[name, float(a), float(b), float(c)] for name, a, b, c in zip(names, share, ious, recall, strict=True)]
    rows.append(['mean', float('nan'), float(np.nanmean(ious)), float(np.nanmean(recall))])
    figures = {'confusion_pixels': plot_confusion(confusion, names, 'pixels')}
    return Findings(['class', 'share of pixels', 'IoU', 'accuracy'], rows, confusion, names, figures, worst.sorted())


def pixel_confusion(truth: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Count pixels by true class (rows) and predicted class (columns); 255 in ``truth`` is ignored."""
    known = truth != IGNORED
    pairs = truth[known].astype(np.int64) * num_classes + predicted[known]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def intersection_over_union(confusion: np.ndarray) -> np.ndarray:
    """Return the IoU of each class; NaN of one that neither side has."""
    both = np.diag(confusion)
    either = confusion.sum(axis=0) + confusion.sum(axis=1) - both
    return np.where(either > 0, both / np.maximum(either, 1), np.nan)


def _maps_beside(result: Segmentation, truth: np.ndarray) -> np.ndarray:
    drawn = replace(result, label_map=truth).draw()
    return contact_sheet([[result.image, drawn, result.draw()]], ['image', 'annotation', 'prediction'])
