"""Operations that torch's exporter has no ONNX operator for: non-maximum suppression, RoIAlign, adaptive pooling."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def non_maximum_suppression(
    boxes: Tensor, scores: Tensor, groups: Tensor, iou_threshold: float, score_threshold: float, most: int
) -> Tensor:
    """Return which boxes stay, (k,) int64, the surest first: mmcv's ``batched_nms`` as a NonMaxSuppression.

    Args:
        boxes: (n, 4), x1, y1, x2, y2.
        scores: (n,).
        groups: (n,) int64, from 0; boxes of different groups do not suppress each other.
        iou_threshold: Boxes that overlap a surer one by more are suppressed.
        score_threshold: Boxes that do not have a higher score are left out.
        most: How many stay at most.
    """
    # As in mmcv, each group is moved to a place of its own, by the largest coordinate of the boxes that count.
    counts = (scores > score_threshold)[:, None]
    largest = torch.cat([torch.where(counts, boxes, 0.0).flatten(), boxes.new_zeros(1)]).max()
    moved = boxes + (groups.to(boxes) * (largest + 1))[:, None]
    return _NonMaxSuppression.apply(moved, scores, iou_threshold, score_threshold, most)


class _NonMaxSuppression(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float, most: int
    ) -> Tensor:
        from mmcv.ops import nms

        counting = (scores > score_threshold).nonzero().squeeze(1)
        _, kept = nms(boxes[counting], scores[counting], iou_threshold)
        return counting[kept[:most]]

    @staticmethod
    def symbolic(
        g: Any, boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float, most: int
    ) -> Any:
        def constant(value: Any, dtype: torch.dtype) -> Any:
            return g.op('Constant', value_t=torch.tensor(value, dtype=dtype))

        selected = g.op(
            'NonMaxSuppression',
            g.op('Unsqueeze', boxes, constant([0], torch.int64)),
            g.op('Unsqueeze', scores, constant([0, 1], torch.int64)),
            constant([most], torch.int64),
            constant([iou_threshold], torch.float32),
            constant([score_threshold], torch.float32),
        )
        return g.op('Gather', selected, constant(2, torch.int64), axis_i=1)


def roi_align(map_: Tensor, rois: Tensor, layer: Any) -> Tensor:
    """Return what mmcv's ``RoIAlign`` layer makes of a map (1, C, h, w) and n rois (n, 5): (n, C, *output_size)."""
    return _RoIAlign.apply(map_, rois, layer.output_size, layer.spatial_scale, layer.sampling_ratio)


class _RoIAlign(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, map_: Tensor, rois: Tensor, size: Sequence[int], spatial_scale: float, sampling_ratio: int
    ) -> Tensor:
        from mmcv.ops import roi_align

        return roi_align(map_, rois, size, spatial_scale, sampling_ratio, 'avg', True)

    @staticmethod
    def symbolic(
        g: Any, map_: Tensor, rois: Tensor, size: Sequence[int], spatial_scale: float, sampling_ratio: int
    ) -> Any:
        boxes = g.op('Slice', rois, *(g.op('Constant', value_t=torch.tensor([value])) for value in (1, 5, 1)))
        first = g.op('Gather', rois, g.op('Constant', value_t=torch.tensor(0)), axis_i=1)
        return g.op(
            'RoiAlign',
            map_,
            boxes,
            g.op('Cast', first, to_i=7),  # int64
            output_height_i=size[0],
            output_width_i=size[1],
            spatial_scale_f=spatial_scale,
            sampling_ratio_i=sampling_ratio,
            mode_s='avg',
            coordinate_transformation_mode_s='half_pixel',
        )


class AdaptivePool(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as two products of matrices, since no ONNX operator averages parts of any size.

    Args:
        size: Rows and columns of the output.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Pool (N, C, h, w) to (N, C, *size)."""
        return _averaging(x, 2, self.size[0]) @ x @ _averaging(x, 3, self.size[1]).t()


def _averaging(x: Tensor, dim: int, count: int) -> Tensor:
    """Return the matrix (count, length) that averages the parts of a dimension, which may share an element."""
    # Of a tensor, not of a number: in the graph, the length is that of the input.
    positions = torch.arange(x.shape[dim], device=x.device)
    length = torch.ones_like(positions).sum()
    parts = torch.arange(count, device=x.device)
    starts = torch.div(parts * length, count, rounding_mode='floor')
    ends = torch.div((parts + 1) * length + count - 1, count, rounding_mode='floor')
    inside = ((positions >= starts[:, None]) & (positions < ends[:, None])).to(x.dtype)
    return inside / (ends - starts)[:, None].to(x.dtype)


def replace_layers(model: nn.Module) -> None:
    """Replace layers of a model that the exporter does not record for every size by others that compute the same.

    ``nn.AdaptiveAvgPool2d`` becomes :class:`AdaptivePool`. mmseg's ``Upsample`` becomes torch's: it computes the size
    in Python, which the exporter takes for a constant.
    """
    for module in list(model.modules()):
        child: Any
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                size: Any = child.output_size
                setattr(module, name, AdaptivePool(size if isinstance(size, tuple) else (size, size)))
            elif type(child).__name__ == 'Upsample' and type(child).__module__.startswith('mmseg.'):
                setattr(module, name, nn.Upsample(child.size, child.scale_factor, child.mode, child.align_corners))
