"""Detectors of mmdet as functions of an image: their networks, box coders and priors are called, the rest is here.

mmdet's own code after the heads decides by the number of boxes what it computes, which no graph can. Here everything
is computed for any number, none included; results are the same.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmcnv2.utils.errors import InputError

from .operators import non_maximum_suppression, roi_align

_ALL = 2**31 - 1  # boxes
#: What a setting ``nms`` may have. (Where mmcv divides many boxes by ``split_thr``, it computes the same.)
_NMS = {'type', 'iou_threshold', 'class_agnostic', 'split_thr'}


class Detector(nn.Module):
    """A base of what a detector finds in one image.

    Args:
        model: A detector of mmdet.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return boxes (n, 4), scores (n,), labels (n,) int64 and, of a model with masks, masks (n, H, W) bool.

        Args:
            images: (1, C, H, W), normalised.
        """
        raise NotImplementedError


class SingleStageDetector(Detector):
    """RetinaNet, RTMDet, and others whose heads predict classes and boxes alone."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See the base."""
        head, cfg = self.model.bbox_head, self.model.test_cfg
        maps = head(self.model.extract_feat(images))
        boxes, scores, labels, _ = candidates(head, maps, cfg.get('nms_pre', -1))
        boxes = clip(boxes, images)
        scores = without_small(boxes, scores, cfg.get('min_bbox_size', -1))
        kept = suppress(boxes, scores, labels, cfg.nms, cfg.get('score_thr', 0), cfg.max_per_img)
        return boxes[kept], scores[kept], labels[kept]


class TwoStageDetector(Detector):
    """Faster R-CNN, Mask R-CNN and their cascades."""

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """See the base."""
        head, cfg = self.model.roi_head, self.model.test_cfg.rcnn
        maps = self.model.extract_feat(images)
        rois = with_index(self._proposals(maps, images))
        bbox_heads, extractors = stages(head.bbox_head), stages(head.bbox_roi_extractor)
        every = []
        for i, (bbox_head, extractor) in enumerate(zip(bbox_heads, extractors, strict=True)):
            class_scores, deltas = (out[:-1] for out in bbox_head(self._features(extractor, maps, rois)))
            every.append(class_scores)
            if i < len(bbox_heads) - 1:
                rois = with_index(clip(refined(bbox_head, rois, class_scores, deltas), images))
        # The last bbox_head, its deltas, and the mean of the scores of all.
        boxes, scores, labels = classified(bbox_head, rois, sum(every) / float(len(every)), deltas)
        boxes = clip(boxes, images)
        kept = suppress(boxes, scores, labels, cfg.nms, cfg.score_thr, cfg.max_per_img)
        boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
        if not head.with_mask:
            return boxes, scores, labels
        rois = with_index(boxes)
        masks = []
        for mask_head, extractor in zip(stages(head.mask_head), stages(head.mask_roi_extractor), strict=True):
            logits = mask_head(self._features(extractor, maps, rois))[:-1]
            every_class = labels * 0 if mask_head.class_agnostic else labels
            index = every_class[:, None, None, None].expand(-1, 1, *logits.shape[2:])
            masks.append(logits.gather(1, index)[:, 0].sigmoid())
        pasted = paste(sum(masks) / float(len(masks)), boxes, images)
        return boxes, scores, labels, pasted >= cfg.mask_thr_binary

    def _proposals(self, maps: Sequence[Tensor], images: Tensor) -> Tensor:
        head, cfg = self.model.rpn_head, self.model.test_cfg.rpn
        boxes, scores, _, levels = candidates(head, head(maps), cfg.get('nms_pre', -1))
        boxes = clip(boxes, images)
        scores = without_small(boxes, scores, cfg.get('min_bbox_size', -1))
        return boxes[suppress(boxes, scores, levels, cfg.nms, 0.0, cfg.max_per_img)]

    def _features(self, extractor: Any, maps: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Return the features of rois and of one more, since norms of no rois at all are an error in onnxruntime."""
        rois = torch.cat([rois, torch.zeros_like(maps[0][0, 0, :1, :1]).expand(1, 5)])
        features = roi_features(extractor, maps[: extractor.num_inputs], rois)
        head = self.model.roi_head
        return head.shared_head(features) if head.with_shared_head else features


def stages(module: Any) -> list[Any]:
    """Return the heads or extractors of all stages of a cascade; of others, the only one."""
    return list(module) if isinstance(module, nn.ModuleList) else [module]


def with_index(boxes: Tensor) -> Tensor:
    """Return boxes (n, 4) as rois (n, 5) of the first image."""
    return torch.cat([torch.zeros_like(boxes[:, :1]), boxes], dim=1)


def candidates(
    head: Any, maps: tuple[Sequence[Tensor], Sequence[Tensor]], most: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the surest pairs of prior and class of each level of a dense head.

    Args:
        head: Of mmdet.
        maps: What it predicts: of each level a map of classes (1, priors * classes, h, w) and one of boxes (1,
            priors * 4, h, w).
        most: How many of a level; below 1: all.

    Returns:
        Boxes (n, 4), not clipped, scores (n,), labels (n,) and levels (n,).
    """
    class_maps, box_maps = maps
    sizes = [map_.shape[-2:] for map_ in class_maps]
    priors = head.prior_generator.grid_priors(sizes, dtype=class_maps[0].dtype, device=class_maps[0].device)
    found: list[tuple[Tensor, ...]] = []
    for level, (class_map, box_map) in enumerate(zip(class_maps, box_maps, strict=True)):
        scores = class_map[0].permute(1, 2, 0).reshape(-1, head.cls_out_channels)
        scores = scores.sigmoid() if head.use_sigmoid_cls else scores.softmax(-1)[:, :-1]
        classes = scores.shape[1]
        scores = scores.reshape(-1)
        count: Any = torch.ones_like(scores, dtype=torch.int64).sum()  # in the graph, that of the input
        count = torch.clamp(count, max=most) if most > 0 else count
        scores, order = scores.topk(count)
        which = torch.div(order, classes, rounding_mode='floor')
        deltas = box_map[0].permute(1, 2, 0).reshape(-1, head.bbox_coder.encode_size)[which]
        boxes = head.bbox_coder.decode(priors[level][which], deltas)
        found.append((boxes, scores, order - which * classes, torch.full_like(order, level)))
    boxes, scores, labels, levels = (torch.cat(values) for values in zip(*found, strict=True))
    return boxes, scores, labels, levels


def clip(boxes: Tensor, images: Tensor) -> Tensor:
    """Clip boxes (n, 4) to images (1, C, H, W)."""
    ones = images[0, 0]
    width, height = (torch.ones_like(line).sum() for line in (ones[0], ones[:, 0]))
    limits = torch.stack([width, height, width, height])
    return boxes.clamp(min=0.0).minimum(limits.to(boxes.dtype))


def without_small(boxes: Tensor, scores: Tensor, smallest: float) -> Tensor:
    """Return the scores, -1 of boxes with a side of at most ``smallest``; below 0: none are left out."""
    if smallest < 0:
        return scores
    sides = boxes[:, 2:] - boxes[:, :2]
    return torch.where((sides > smallest).all(dim=1), scores, -1.0)


def suppress(boxes: Tensor, scores: Tensor, groups: Tensor, nms: Any, score_threshold: float, most: int) -> Tensor:
    """Return which boxes stay, as a setting ``nms`` of mmdet says, see ``non_maximum_suppression``."""
    groups = torch.zeros_like(groups) if nms.get('class_agnostic') else groups
    most = most if most > 0 else _ALL
    return non_maximum_suppression(boxes, scores, groups, nms.iou_threshold, score_threshold, most)


def roi_features(extractor: Any, maps: Sequence[Tensor], rois: Tensor) -> Tensor:
    """Return the features (n, C, h, w) of rois (n, 5), each from the level that mmdet's extractor says."""
    levels = extractor.map_roi_levels(rois, len(maps))
    parts, places = [], []
    for level, (map_, layer) in enumerate(zip(maps, extractor.roi_layers, strict=True)):
        index = (levels == level).nonzero().squeeze(1)
        parts.append(roi_align(map_, rois[index], layer))
        places.append(index)
    place = torch.cat(places)
    back = torch.zeros_like(place).scatter(0, place, torch.ones_like(place).cumsum(0) - 1)
    return torch.cat(parts)[back]


def refined(head: Any, rois: Tensor, class_scores: Tensor, deltas: Tensor) -> Tensor:
    """Return the boxes (n, 4) of a stage of a cascade, those of the likeliest class of each roi."""
    if head.custom_activation:
        class_scores = head.loss_cls.get_activation(class_scores)
    label = class_scores[:, :-1].argmax(dim=1)
    return head.regress_by_class(rois[:, 1:], label, deltas, dict(img_shape=None))


def classified(head: Any, rois: Tensor, class_scores: Tensor, deltas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes, scores and labels of each roi and class, (n * classes, ...), the background left out."""
    if head.custom_cls_channels:
        scores = head.loss_cls.get_activation(class_scores)[:, :-1]
    else:
        scores = class_scores.softmax(dim=-1)[:, :-1]
    classes = scores.shape[1]
    size = head.bbox_coder.encode_size
    deltas = deltas.reshape(-1, 1 if head.reg_class_agnostic else classes, size).expand(-1, classes, size)
    priors = rois[:, None, 1:].expand(-1, classes, 4)
    boxes = head.bbox_coder.decode(priors.reshape(-1, 4), deltas.reshape(-1, size))
    labels = torch.arange(classes, device=rois.device) + torch.zeros_like(scores, dtype=torch.int64)
    return boxes, scores.reshape(-1), labels.reshape(-1)


def paste(masks: Tensor, boxes: Tensor, images: Tensor) -> Tensor:
    """Resize masks (n, h, w) to their boxes (n, 4) in an image (1, C, H, W), bilinearly: (n, H, W).

    As two products of matrices, since along each axis it is one: mmdet's ``grid_sample`` takes three times the memory.
    """
    rows = _interpolation(masks.shape[1], boxes[:, 1], boxes[:, 3], images[0, 0, :, 0])
    columns = _interpolation(masks.shape[2], boxes[:, 0], boxes[:, 2], images[0, 0, 0])
    return rows @ masks @ columns.transpose(1, 2)


def _interpolation(count: int, starts: Tensor, ends: Tensor, line: Tensor) -> Tensor:
    """Return the weights (n, length, count) of the elements of a mask at each pixel of a line (length,)."""
    pixels = torch.ones_like(line).cumsum(0) - 0.5
    at = (pixels - starts[:, None]) / (ends - starts)[:, None] * count - 0.5
    return (1 - (at[..., None] - torch.arange(count, device=line.device)).abs()).clamp(min=0.0)


def detector_graph(model: Any) -> Detector:
    """Return a detector of mmdet as a function of an image.

    Raises:
        InputError: It has parts that are computed in another way; names the part.
    """
    from mmdet.models.dense_heads import RPNHead
    from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
    from mmdet.models.detectors import SingleStageDetector as Single
    from mmdet.models.detectors import TwoStageDetector as Two
    from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
    from mmdet.models.roi_heads.bbox_heads import BBoxHead
    from mmdet.models.roi_heads.mask_heads import FCNMaskHead
    from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

    def expect(setting: str, part: Any, base: type, *methods: str) -> None:
        """Check that what comes after the layers of a part is what ``base`` does."""
        own = isinstance(part, base) and all(getattr(type(part), name) is getattr(base, name) for name in methods)
        if not own:
            raise InputError(f'{setting}: {type(part).__name__} has no ONNX export; {base.__name__} of mmdet has one')

    after = ('predict', 'predict_by_feat', '_predict_by_feat_single', '_bbox_post_process')
    if isinstance(model, Two):
        expect('model', model, Two, 'predict', 'extract_feat')
        expect('model.rpn_head', model.rpn_head, RPNHead, *after)
        head = model.roi_head
        base = CascadeRoIHead if isinstance(head, CascadeRoIHead) else StandardRoIHead
        expect(
            'model.roi_head', head, base, 'predict', 'predict_bbox', 'predict_mask', '_bbox_forward', '_mask_forward'
        )
        for one in stages(head.bbox_head):
            expect('model.roi_head.bbox_head', one, BBoxHead, *after[1:3])
        extractors = stages(head.bbox_roi_extractor)
        if head.with_mask:
            extractors = [*extractors, *stages(head.mask_roi_extractor)]
            for one in stages(head.mask_head):
                expect('model.roi_head.mask_head', one, FCNMaskHead, *after[1:3])
            if model.test_cfg.rcnn.mask_thr_binary < 0:
                raise InputError('model.test_cfg.rcnn.mask_thr_binary must be at least 0: masks are bool')
        for one in extractors:
            expect('model.roi_head.bbox_roi_extractor', one, SingleRoIExtractor, 'forward', 'map_roi_levels')
            for layer in one.roi_layers:
                if type(layer).__name__ != 'RoIAlign' or not layer.aligned or layer.pool_mode != 'avg':
                    raise InputError(
                        f'model.roi_head: roi_layer must be an aligned RoIAlign that averages, got {layer}'
                    )
        return TwoStageDetector(model)
    expect('model', model, Single, 'predict', 'extract_feat')
    expect('model.bbox_head', model.bbox_head, BaseDenseHead, *after)
    if model.bbox_head.loss_cls is not None and getattr(model.bbox_head.loss_cls, 'custom_cls_channels', False):
        raise InputError(f'model.bbox_head.loss_cls: {type(model.bbox_head.loss_cls).__name__} has no ONNX export')
    return SingleStageDetector(model)


def replace_soft_nms(model: Any) -> bool:
    """Replace Soft-NMS, which has no ONNX operator, by NMS of the same threshold.

    Args:
        model: A detector of mmdet; its settings are changed.

    Returns:
        Whether there was one.

    Raises:
        InputError: There is another kind of suppression.
    """
    heads = [getattr(model, name, None) for name in ('rpn_head', 'roi_head', 'bbox_head')]
    settings: list[Any] = [model.test_cfg, *(getattr(head, 'test_cfg', None) for head in heads)]
    settings += [model.test_cfg.get(name) for name in ('rpn', 'rcnn')]
    found = False
    for setting in settings:
        nms: Any = (setting or {}).get('nms')
        kind = nms.get('type', 'nms') if nms else 'nms'
        if kind == 'soft_nms':
            found = True
            setting.nms = type(nms)(type='nms', iou_threshold=nms.get('iou_threshold', 0.3))
        elif kind != 'nms':
            raise InputError(f'model.test_cfg: {kind} has no ONNX operator; nms has one')
        elif nms and (others := nms.keys() - _NMS):
            raise InputError(
                f'model.test_cfg: nms with {", ".join(sorted(others))} has no ONNX operator; leave it out'
            )
    return found
